"""The engine: APScheduler says when a unit is due, the crew of its collector polls it, the stalest first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.clock import Clock
from exporter.contract import UnitTrouble
from exporter.errors import ExporterError, StoreError
from exporter.rounds.agenda import Agenda, Key, Task
from exporter.rounds.backoff import jittered
from exporter.rounds.crew import Crew
from exporter.rounds.crews import Crews
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState, asked_wait
from exporter.selfmetrics import SelfMetrics
from exporter.store.base import Store
from exporter.store.lease import LeaseUnknown

log = logging.getLogger(__name__)

_STANDBY_SECONDS = 3  # how soon a dead leader is replaced, and how stale a follower may be
_FOLLOW_SECONDS = 15  # how soon a leader shows what `backfill` or a webhook elsewhere saved
_RESUME_SECONDS = 10  # how soon a changed token file is noticed
_PRUNE_HOURS = 24
_FIRST_PRUNE_SECONDS = 600
_RELEASE_SECONDS = 0.3
_MAINTENANCE = "maintenance"
_DISCOVER = "/discover"


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # the library has no types
    """APScheduler's, which takes a job that is not there for removed.

    Its own thread removes a job that ran, and finds none when the scheduler is shut down in that moment:
    the stop would leave a traceback of that thread in the log.
    """

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        with suppress(JobLookupError):
            super().remove_job(job_id, jobstore)


class Engine:
    """Runs the rounds of all collectors until stopped.

    The scheduler's own thread only moves due tasks into an agenda, so it is never late. All I/O happens on
    workers: *capacity* for each collector, those of the lanes that it asks for, and one for each sort of
    upkeep.
    """

    def __init__(
        self,
        store: Store,
        metrics: SelfMetrics,
        clock: Clock,
        *,
        capacity: int,
        retention_days: int,
        dead_letter_days: int,
        stopping: threading.Event,
    ) -> None:
        self.rounds: dict[str, CollectorRounds] = {}
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._retention = timedelta(days=retention_days)
        self._keep_buried = timedelta(days=dead_letter_days)
        self._stopping = stopping
        self._lease = store.lease()
        self._leading = False
        self._standing_by = False
        self._paused = False
        self._were_ready: set[str] = set()
        self._capacity = capacity
        self._crews = Crews(capacity, stopping)
        self._upkeep = Crew("upkeep")
        self._scheduler = _Scheduler(
            executors={"default": DebugExecutor()},
            # A due task is late at worst, never skipped.
            job_defaults={"misfire_grace_time": None, "coalesce": True},
            timezone="UTC",
        )
        self.led: Callable[[bool], None] = lambda _leading: None
        metrics.troubles = self.troubles
        metrics.work.capacity = self.workers
        metrics.polls_waiting = self.waiting

    def adopt(self, rounds: Sequence[CollectorRounds]) -> None:
        """Take *rounds* in and show what the store has for them."""
        for one in rounds:
            self.rounds[one.name] = one
            one.follow()

    def start(self) -> None:
        """Begin to poll as soon as the lease is ours."""
        self._scheduler.start()
        self._watch_lease()
        self._every("lease", _STANDBY_SECONDS, self._watch_lease)
        self._every("follow", _FOLLOW_SECONDS, self._follow)
        self._every("resume", _RESUME_SECONDS, self._resume)
        # Soon after the start as well: a process that is restarted every night would never get to it.
        self._every("prune", _PRUNE_HOURS * 3600, self._prune, first=_FIRST_PRUNE_SECONDS)

    def stop(self, timeout: float) -> bool:
        """End the rounds; true if every poll in flight came to its end within *timeout* seconds."""
        self._stopping.set()
        if self._scheduler.running:  # not if the start failed
            self._scheduler.shutdown(wait=False)
        until = self._clock.monotonic() + timeout
        for agenda in self._agendas():
            agenda.close()
        ended = all(
            agenda.wait_idle(lambda key: True, max(0.0, until - self._clock.monotonic()))
            for agenda in self._agendas()
        )
        # Beside us: a database that hangs must not hold up the stop; the lease ends with the process.
        release = threading.Thread(target=self._lease.release, daemon=True)
        release.start()
        release.join(_RELEASE_SECONDS)
        return ended and not release.is_alive()

    def replace(self, rounds: Sequence[CollectorRounds]) -> None:
        """Go on with other collectors, after a reload; polls in flight end, but show nothing any more."""
        for old in self.rounds.values():
            old.alive = False
        self._forget_polls()
        self._crews.dismiss()
        for one in rounds:
            if before := self.rounds.get(one.name):
                one.inherit(before)
                if one.collector.target != before.collector.target:
                    # Polls of the source before may hang: they may be why this one was configured.
                    self._crews.relieve(one.name)
        self.rounds = {one.name: one for one in rounds}
        self._were_ready &= self.rounds.keys()
        try:
            self._follow()
        except StoreError as error:
            # The old configuration is gone: going on shows the same a few seconds later.
            log.error("store failed", extra={"task": "reload", "error": str(error)})  # noqa: TRY400
        if self._leading:
            for one in rounds:
                self._discover_now(one)

    # -- lease ---------------------------------------------------------------------------------

    def _watch_lease(self) -> None:
        """Poll if the lease is ours, else follow the process that holds it."""
        had = self._leading
        try:
            self._leading = self._lease.acquire()
        except LeaseUnknown as error:
            self._pause(error)
            return
        self._paused = False
        self._metrics.leader.set(int(self._leading))
        if self._leading is not had:
            self.led(self._leading)
        if self._leading and not had:
            log.info("polling started", extra={"collectors": ", ".join(self.rounds)})
            for one in self.rounds.values():
                one.lead()
                self._discover_now(one, all_units=True)
        elif not self._leading and not self._standing_by:
            log.log(
                logging.WARNING if had else logging.INFO,
                "another process polls for this store; standing by",
            )
            self._forget_polls()
            for one in self.rounds.values():
                one.stand_by()
        self._standing_by = not self._leading
        if self._standing_by:
            # What was shown while standing by stays shown after a takeover.
            self._were_ready.update(self.rounds)
            self._follow()

    def _pause(self, error: LeaseUnknown) -> None:
        """Poll nothing until the store answers; what is shown stays, since no other process refreshes it."""
        if not self._paused:
            log.warning("polling pauses", extra={"error": str(error)})
            self._forget_polls()
        self._paused, self._leading = True, False
        self._metrics.leader.set(0)
        self.led(False)

    def _forget_polls(self) -> None:
        """Poll nothing more until told anew."""
        for agenda in self._agendas():
            agenda.discard(lambda key: key[0] in self.rounds)
        for job in self._scheduler.get_jobs():
            if not job.id.startswith(_MAINTENANCE):
                self._scheduler.remove_job(job.id)

    # -- maintenance ---------------------------------------------------------------------------

    def _follow(self) -> None:
        """Show what other processes saved."""
        for one in list(self.rounds.values()):
            one.follow()

    def _resume(self) -> None:
        """Go on polling sources whose refused credentials were changed."""
        for one in list(self.rounds.values()):
            if self._leading and one.halted and self._may_resume(one):
                self._discover_now(one, all_units=True)

    def _may_resume(self, rounds: CollectorRounds) -> bool:
        try:
            return rounds.resume()
        except Exception:
            # A collector's bug (or a token file that cannot be read just now) must not hold up the others.
            log.exception("credentials could not be looked at", extra={"collector": rounds.name})
            return False

    def _prune(self) -> None:
        """Delete runs and dead letters past their time; forget what was counted and cannot come again."""
        if self._leading:
            now = self._clock.now()
            deleted = self._store.prune(now - self._retention)
            self._store.outbox.forget(now)
            log.info("old runs pruned", extra={"runs": deleted})
            if buried := self._store.outbox.forget_buried(now - self._keep_buried):
                log.info("old dead letters deleted", extra={"events": buried})

    def _every(
        self,
        name: str,
        seconds: float,
        action: Callable[[], None],
        *,
        first: float | None = None,
    ) -> None:
        """Do *action* again and again on a worker of its own; the *first* time after so many seconds."""
        # Whatever hangs (a poll, the store, the file of a token), the others go on: above all the lease.
        self._upkeep.resize(self._upkeep.size + 1)
        task = Task((_MAINTENANCE, name), action)
        self._scheduler.add_job(
            lambda: self._upkeep.agenda.add(task, self._clock.monotonic()),
            "interval",
            seconds=seconds,
            next_run_time=self._clock.now() + timedelta(seconds=seconds if first is None else first),
            id=f"{_MAINTENANCE}:{name}",
        )

    # -- tasks ---------------------------------------------------------------------------------

    def workers(self) -> int:
        """How many polls can run at once; without a collector, as many as one would have."""
        return self._crews.workers(list(self.rounds.values())) or self._capacity

    def waiting(self) -> dict[str, int]:
        """``collector -> what is due and waits for one of its workers``."""
        return {name: self._crews.waiting(name) for name in list(self.rounds)}

    def _agendas(self) -> list[Agenda]:
        return [self._upkeep.agenda, *self._crews.agendas()]

    def _poll_now(self, rounds: CollectorRounds, state: UnitState) -> None:
        """Have a unit polled as soon as a worker is free; once more if it is being polled."""
        if rounds.is_current(state):
            task = Task(_key(rounds, state.stored.unit.key), lambda: self._visit(rounds, state))
            self._crews.agenda_of(rounds, state.stored.unit.lane).add(task, state.last_polled)

    def wake(self, collector: str, key: str) -> None:
        """Poll the unit *key* of *collector* now, or once more if it is being polled."""
        rounds = self.rounds.get(collector)
        state = rounds.state(key) if rounds else None
        if rounds and state and self._leading:
            self._poll_now(rounds, state)

    def _discover_now(self, rounds: CollectorRounds, *, all_units: bool = False) -> None:
        """Discover at once, before any poll that is due."""
        task = Task(_key(rounds, _DISCOVER), lambda: self._discover(rounds, all_units=all_units))
        self._crews.agenda_of(rounds).add(task, float("-inf"))

    def _discover(self, rounds: CollectorRounds, *, all_units: bool = False) -> None:
        """Discover, poll what is new, and set the next discovery."""
        at_least = 0.0
        try:
            new = rounds.discover()
        except ExporterError as error:
            at_least = asked_wait(error)
        else:
            for state in rounds.states() if all_units else new:
                self._poll_now(rounds, state)
            all_units = False
        if rounds.alive and rounds.halted is None:
            # After a failure, those that nobody polls yet still wait for their first turn.
            task = Task(_key(rounds, _DISCOVER), lambda: self._discover(rounds, all_units=all_units))
            wait = max(jittered(rounds.discovery_wait), at_least)
            agenda, last_run = self._crews.agenda_of(rounds), self._clock.monotonic()
            self._at(f"{rounds.name}:{_DISCOVER}", wait, lambda: agenda.add(task, last_run))

    def _visit(self, rounds: CollectorRounds, state: UnitState) -> None:
        """Poll one unit and set its next poll."""
        if not rounds.is_current(state) or not self._leading:
            rounds.skip()
            return
        visit = rounds.visit(state)
        if visit is None or not rounds.is_current(state):
            return
        if visit.wait == 0:
            self._poll_now(rounds, state)
            return
        wait = visit.exactly
        if wait is None:
            wait = max(jittered(visit.wait), visit.at_least)
        self._at(f"{rounds.name}:{state.stored.unit.key}", wait, lambda: self._poll_now(rounds, state))

    def _at(self, job_id: str, seconds: float, action: Callable[[], None]) -> None:
        """Put something into an agenda in *seconds*."""
        if self._stopping.is_set():
            return
        self._scheduler.add_job(
            action,
            "date",
            run_date=self._clock.now() + timedelta(seconds=seconds),
            id=job_id,
            replace_existing=True,
        )

    # -- state ---------------------------------------------------------------------------------

    def turns(self, seconds: float) -> bool:
        """Whether the scheduler gets to a task that is due now within *seconds*; false once stopped."""
        turned = threading.Event()
        # A name of its own: a question that came late must not take the place of the next one.
        name = f"{_MAINTENANCE}:turn:{id(turned)}"
        # Asked beside us: a scheduler that hangs holds its lock, and whoever asks hangs with it.
        threading.Thread(target=self._at, args=(name, 0, turned.set), daemon=True).start()
        return turned.wait(seconds)

    def not_ready(self) -> str | None:
        """Why the first round is not complete yet, or ``None`` when it is (or another process polls)."""
        if not self._leading and not self._paused:
            return None if self._standing_by else "starting"
        reasons = {name: one.not_ready() for name, one in list(self.rounds.items())}
        # Ready once, ready for good: a project that is added later, or a token that is refused one day,
        # is no reason to take away what can still be scraped.
        self._were_ready |= {name for name, reason in reasons.items() if reason is None}
        waiting = [reason for name, reason in reasons.items() if reason and name not in self._were_ready]
        return "; ".join(waiting) or None

    def troubles(self) -> list[tuple[str, UnitTrouble]]:
        """``(collector, trouble)`` of every unit that needs the operator's eye."""
        return [(name, trouble) for name, one in list(self.rounds.items()) for trouble in one.troubles()]


def _key(rounds: CollectorRounds, what: str) -> Key:
    """What tells a task of *rounds* from those of others, also of a source that it had before a reload.

    What is called the same there is another unit, and another discovery: neither waits for the other.
    """
    return (rounds.name, what, rounds.collector.target)
