"""One collector's rounds: discover its units, poll each, save what came, swap what is shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from exporter.clock import Clock
from exporter.contract import Batch, Collector, Discovery, Position, Schedule, Trouble, Unit, UnitTrouble
from exporter.errors import ExporterError, SourceError, Stopped, Unauthorized, UnitUnavailable
from exporter.exposition import CollectorPage
from exporter.rounds.backoff import Backoff
from exporter.rounds.display import Display
from exporter.rounds.standing import Standing
from exporter.rounds.units import Units
from exporter.rounds.visits import Received, UnitState, Visit, asked_wait
from exporter.runnermetrics import FetchResult
from exporter.selfmetrics import SelfMetrics
from exporter.store.base import Saved, Store, StoredUnit

log = logging.getLogger(__name__)

_GIVE_UP_AFTER = 3  # failed polls after which a unit no longer holds up readiness
_DISCOVERY_RETRY = Schedule(5, 300, 0)


class CollectorRounds:
    """Everything the engine does for one collector; thread-safe, one visit per unit at a time."""

    def __init__(
        self,
        collector: Collector[Any],
        page: CollectorPage,
        store: Store,
        metrics: SelfMetrics,
        clock: Clock,
    ) -> None:
        self.collector = collector
        self.name = collector.name
        self.page = page
        self._display = Display(collector, page, store)
        self._store = store
        self._metrics = metrics
        self._work = metrics.work
        self._work.begin(self.name)
        self._clock = clock
        self._units = Units(collector, store, clock)
        self._standing = Standing(collector, self._units, metrics, clock)
        self._discovery_backoff = Backoff(_DISCOVERY_RETRY)

    @property
    def alive(self) -> bool:
        """Whether these rounds still count; false once a reload put others in their place."""
        return self._display.alive

    @alive.setter
    def alive(self, value: bool) -> None:
        self._display.alive = self._standing.alive = value

    @property
    def halted(self) -> str | None:
        """Why nothing is polled until the credentials change, ``None`` if it is."""
        return self._standing.halted

    def follow(self) -> None:
        """Show what the store has and we do not show yet: at a start, or saved by another process."""
        self._display.follow()

    def inherit(self, other: CollectorRounds) -> None:
        """Go on showing what *other* polled last, if it asked the same source."""
        if other.collector.target == self.collector.target:
            self._display.inherit(other._display)

    def stand_by(self) -> None:
        """Another process polls now: keep only what can be followed in the store."""
        self._display.stand_by()

    def lead(self) -> None:
        """This process polls now."""
        self._display.lead()

    # -- discovery -----------------------------------------------------------------------------

    def discover(self) -> list[UnitState]:
        """Ask the source for its units; returns those that were not polled before."""
        try:
            with self._work.job(self.name), self._unless_stopping():
                new = self._take_over(self.collector.discover())
        except Stopped:
            return []
        except Unauthorized as error:
            self._halt(error)
            return []
        except ExporterError as error:
            self._discovery_failed(error)
            raise
        except Exception as error:
            # A collector's bug: like any other failure, it is tried again.
            log.exception("discovery raised", extra={"collector": self.name})
            failure = ExporterError(f"{type(error).__name__}: {error}")
            self._discovery_failed(failure)
            raise failure from error
        self._discovery_backoff.note(FetchResult.TASK)
        self._standing.discovery_error = None
        self._standing.discovered = True
        self._standing.show_success()
        return new

    def _discovery_failed(self, error: ExporterError) -> None:
        """Book a failed discovery; the units that are known go on."""
        level = logging.DEBUG if self._standing.discovery_error else logging.WARNING
        log.log(level, "discovery failed", extra={"collector": self.name, "error": str(error)})
        self._discovery_backoff.note(FetchResult.ERROR)
        self._standing.discovery_error = str(error)
        self._standing.show_success()

    @property
    def discovery_wait(self) -> float:
        """Seconds until the next discovery, before jitter: the configured ones, fewer after a failure."""
        wait = self.collector.schedule.discover
        return min(wait, self._discovery_backoff.interval) if self._standing.discovery_error else wait

    def _take_over(self, discovery: Discovery) -> list[UnitState]:
        """Make the discovered units ours; the vanished ones go, and their series with them."""
        with self._units.registration():
            entered = self._units.enter(discovery)
            keys = {unit.unit.key for unit in entered.stored}
            self._standing.entered(keys, {state.stored.unit.key for state in entered.new})
            for state in entered.gone:
                self._display.forget(state.stored.id)
            self._display.disown({unit.id for unit in entered.stored})
            if any(state.last_polled >= 0 for state in entered.gone):
                self._standing.show_backoff()
            self._standing.show_units()
        self.follow()
        return entered.new

    # -- polls ---------------------------------------------------------------------------------

    def visit(self, state: UnitState) -> Visit | None:
        """Poll one unit once, save and show what came; ``None`` when the answer no longer matters."""
        started = self._clock.monotonic()
        try:
            with self._work.job(self.name):
                batch, result = self._poll(state)
        except Stopped:
            return None
        except Unauthorized as error:
            self._halt(error)
            return None
        except UnitUnavailable as error:
            visit = self._unavailable(state, error)
        except ExporterError as error:
            visit = self._failed(state, error)
        except Exception as error:
            # A collector's bug must not end the worker, nor stop the other units.
            log.exception("poll raised", extra=self._where(state))
            visit = self._failed(state, ExporterError(f"{type(error).__name__}: {error}"), logged=True)
        else:
            visit = self._succeeded(state, batch, result)
        first, state.last_polled = state.last_polled < 0, self._clock.monotonic()
        wait = visit.wait or state.backoff.interval  # with more news waiting, the base
        if first or wait != state.wait:
            state.wait = wait
            self._standing.show_backoff()
        self._standing.visited(state, state.last_polled - started)
        return visit if self.alive else None

    def _poll(self, state: UnitState) -> tuple[Batch, FetchResult]:
        """Poll, save and show; everything here may raise."""
        woken = state.hooking.begin_poll()
        stored = self._store.position(state.stored.id)
        position = Position(stored.cursor, stored.counts_from, self._store.known(stored.id))
        with self._work.fetch(self.name) as fetch, self._unless_stopping():
            batch = self.collector.poll(state.stored.unit, position)
            fetch.answered()
            saved = self._store.save(stored.id, batch, self._clock.now())
            self._show(state, stored, batch, saved)
            self._count_events(batch, saved)
            if not woken and stored.caught_up and (saved.counted_runs or saved.counted_jobs):
                state.hooking.missed()
            if batch.failure:
                if batch.answered:
                    state.visited = self._standing.answered = True  # readiness need not wait for the rest
                raise batch.failure
            if batch.waited_out:
                fetch.waited_out()
            # What is known already is no news; plain numbers always are unless they say otherwise, or they
            # would be read ever more rarely.
            news = bool(saved.changed or saved.new_events) or (batch.samples is not None and not batch.quiet)
            fetch.result = FetchResult.TASK if news else FetchResult.EMPTY
        return batch, fetch.result

    def _count_events(self, batch: Batch, saved: Saved) -> None:
        if batch.events:
            self._metrics.sinks.read(self.name, saved.new_events, len(batch.events) - saved.new_events)

    @contextmanager
    def _unless_stopping(self) -> Iterator[None]:
        """Have a failure during the stop be part of the stop: it is nobody's fault."""
        try:
            yield
        except SourceError as error:
            if self.collector.context.stopping.is_set():
                raise Stopped("stopping") from error
            raise

    def _show(self, state: UnitState, stored: StoredUnit, batch: Batch, saved: Saved) -> None:
        """Show what *batch* changed."""
        if batch.unit:
            state.stored = replace(state.stored, unit=batch.unit)
        if saved.counted_runs or saved.counted_jobs:
            log.debug(
                "runs counted",
                extra={**self._where(state), "runs": saved.counted_runs, "jobs": saved.counted_jobs},
            )
        caught_up = not stored.caught_up and not batch.more
        if caught_up and batch.samples is None:
            log.info("project caught up", extra=self._where(state))
        if batch.samples is not None:
            self._display.show_samples(stored.id, batch.samples, lambda: self.is_current(state))
        if self._display.unhide(stored.id) or caught_up or saved.changed or batch.unit:
            self._display.show(stored.id)

    def _succeeded(self, state: UnitState, batch: Batch, result: FetchResult) -> Visit:
        """Book a poll that was saved."""
        state.backoff.note(result, busy=batch.busy)
        if state.error or (state.trouble and not batch.trouble):
            log.info("project readable again", extra=self._where(state))
        if batch.trouble and batch.trouble != state.trouble:
            self._units.log_trouble(batch.trouble)
        state.error = ""
        state.trouble = batch.trouble
        state.visited = state.visited or not batch.more
        self._standing.succeeded()
        log.debug("polled", extra={**self._where(state), "result": result.value, "more": batch.more})
        if batch.more:
            return Visit(result, 0.0)
        return Visit(result, self._wait(state), exactly=self._exactly(state))

    def _wait(self, state: UnitState) -> float:
        """Seconds until the next poll of a unit, before jitter."""
        if state.hooking.relied_on(self._clock.monotonic()):
            return state.backoff.schedule.maximum
        return state.backoff.interval

    def _exactly(self, state: UnitState) -> float | None:
        """Seconds until the instant at which the collector wants the unit polled, if it names one."""
        now = self._clock.now()
        try:
            instant = self.collector.next_poll(state.stored.unit, now)
            return max(0.0, (instant - now).total_seconds()) if instant else None
        except Exception:
            # A collector's bug: the unit is polled as often as its schedule says.
            log.exception("next poll could not be told", extra=self._where(state))
            return None

    def _unavailable(self, state: UnitState, error: UnitUnavailable) -> Visit:
        """Book a unit that cannot be read: its series vanish, and it is asked again only rarely."""
        reason = Trouble(error.reason) if error.reason in list(Trouble) else Trouble.BAD_DATA
        trouble = UnitTrouble(state.stored.unit.name, reason, str(error))
        if state.trouble is None or state.trouble.reason is not trouble.reason:
            self._units.log_trouble(trouble)
        state.trouble = trouble
        state.error = ""
        state.visited = True
        state.backoff.note(FetchResult.ERROR)
        self._standing.answered = True
        self._display.hide(state.stored.id)
        return Visit(FetchResult.ERROR, state.backoff.schedule.maximum)

    def _failed(self, state: UnitState, error: ExporterError, *, logged: bool = False) -> Visit:
        """Book a failed poll: what is shown stays, and the wait grows."""
        state.backoff.note(FetchResult.ERROR)
        if not logged:
            # The first failure is news; the following ones only repeat it.
            level = logging.DEBUG if state.error else logging.WARNING
            log.log(level, "poll failed", extra={**self._where(state), "error": str(error)})
        state.error = str(error) or type(error).__name__
        # A source that fails for one project must not hold up the others; our own store must be mended.
        if isinstance(error, SourceError) and state.backoff.errors >= _GIVE_UP_AFTER:
            state.visited = True
        return Visit(FetchResult.ERROR, state.backoff.interval, at_least=asked_wait(error))

    def _halt(self, error: Unauthorized) -> None:
        """Stop polling: every further call would be refused, and might lock the account."""
        if self.halted is None:
            log.error(
                "polling stopped until the credentials change: fix the token and reload",
                extra={"collector": self.name, "error": str(error)},
            )
        self._standing.halted = str(error)
        self._standing.show_success()

    def resume(self) -> bool:
        """Whether polling may go on: always, unless the credentials were refused and are unchanged."""
        if self.halted is None:
            return True
        if not self.collector.credentials_changed():
            return False
        log.info("credentials changed, polling goes on", extra={"collector": self.name})
        self._standing.halted = None
        return True

    # -- hooks ---------------------------------------------------------------------------------

    @property
    def discovered(self) -> bool:
        """Whether it is known which units there are."""
        return self._standing.discovered

    def receive(self, unit: Unit, batch: Batch | None) -> bool | None:
        """Save and show what a hook says of *unit*: whether it is to be polled now; ``None``: not watched."""
        received = self.take_in(unit, batch)
        if received is None:
            return None
        if received.unit_id is not None:
            self.show([received.unit_id])
        return received.wakes

    def take_in(self, unit: Unit, batch: Batch | None) -> Received | None:
        """Save what a hook says of *unit*; ``None`` if that is not watched.

        It is not shown yet: :meth:`show` does so for many units at once, in a part of the time.
        """
        state = self.state(unit.key)
        new = state is None
        if state is None:
            state = self._units.adopt(unit) if self._units.adopts else None
            if state is None:
                return None
            self._standing.show_units()
        state.hooking.came(self._clock.monotonic(), wakes=batch is None)
        if batch is None:
            return Received(wakes=True)
        # The first history of a unit that is polled is complete when polls say so.
        batch = replace(batch, cursor=None, more=not self._units.adopts)
        saved = self._store.save(state.stored.id, batch, self._clock.now())
        self._count_events(batch, saved)
        if batch.unit:
            state.stored = replace(state.stored, unit=batch.unit)
        if batch.samples is not None:
            known = state
            self._display.show_samples(state.stored.id, batch.samples, lambda: self.is_current(known))
        shows = bool(saved.changed or batch.unit or new)
        return Received(wakes=new, unit_id=state.stored.id if shows else None)

    def saving_together(self) -> AbstractContextManager[None]:
        """A block in which several saves wait for others once, not each."""
        return self._store.together()

    def show(self, unit_ids: Sequence[int]) -> None:
        """Show units as the store has them now; one that cannot be shown is logged."""
        self._display.show_each(unit_ids)

    # -- bookkeeping ---------------------------------------------------------------------------

    def skip(self) -> None:
        """A poll that was due is left out: nobody wants it any more."""
        self._work.skipped(self.name)

    def _where(self, state: UnitState) -> dict[str, str]:
        return {"collector": self.name, "project": state.stored.unit.name}

    def states(self) -> list[UnitState]:
        """How the polling of every unit stands."""
        return self._units.states()

    def state(self, key: str) -> UnitState | None:
        """How the polling of the unit *key* stands, if it is one of ours."""
        return self._units.state(key)

    @property
    def all_in_lanes(self) -> bool:
        """Whether every unit has a lane; false as long as none is known."""
        return self._units.all_in_lanes

    def is_current(self, state: UnitState) -> bool:
        """Whether the unit is still to be polled by this collector."""
        return self.alive and self.halted is None and self._units.has(state)

    def troubles(self) -> list[UnitTrouble]:
        """Every unit that needs the operator's eye."""
        return self._units.troubles()

    def not_ready(self) -> str | None:
        """Why the first round is not complete, or ``None`` when it is."""
        return self._standing.not_ready()
