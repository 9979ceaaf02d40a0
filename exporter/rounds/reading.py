"""Reading hooks: from the inbox through their collector into the store and onto the page, while we poll."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from exporter.clock import Clock
from exporter.contract import Batch, Unit
from exporter.errors import ExporterError, StoreError, Unstorable
from exporter.hookmetrics import HookMetrics, Result
from exporter.hooks import AcceptsHooks, HookNews, NotUnderstood
from exporter.rounds.round import CollectorRounds
from exporter.store.inbox import Inbox, Waiting

log = logging.getLogger(__name__)

_AT_ONCE = 500  # of one collector: many of them bring news of the same units, which are saved together
_UNITS_AT_ONCE = 25  # whose saves other writers wait for: a tenth of a second
_BYTES_AT_ONCE = 16 * 1024 * 1024
_LOOK_SECONDS = 0.25  # for hooks that another process received
_LONGEST_REST_SECONDS = 0.3
_RETRY_SECONDS = 2.0
_TRIES = 3
_NEXT_TRY = timedelta(seconds=60)


@dataclass(slots=True)
class _Told:
    """What the hooks of one batch say of one unit, in their order."""

    unit: Unit
    news: list[tuple[Waiting, HookNews]] = field(default_factory=list)


@dataclass(slots=True)
class _Read:
    """What became of the hooks of one batch."""

    failed: dict[int, Waiting] = field(default_factory=dict)
    ignored: dict[int, Waiting] = field(default_factory=dict)
    watched: set[int] = field(default_factory=set)
    shown: list[int] = field(default_factory=list)
    not_understood: int = 0


class HookReader:
    """One thread that reads the hooks of all collectors in turn, those of one in the order of their arrival.

    What a hook says is saved before it leaves the inbox: a crash in between saves it once more, which changes
    nothing. One that its collector cannot read is tried again two times, and holds up no other.
    """

    def __init__(
        self,
        inbox: Inbox,
        rounds: Callable[[], Mapping[str, CollectorRounds]],
        wake: Callable[[str, str], None],
        metrics: HookMetrics,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._rounds = rounds
        self._wake = wake
        self._metrics = metrics
        self._clock = clock
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def lead(self, leading: bool) -> None:
        """This process polls from now on, or does so no more; returns at once."""
        with self._turn:
            self._stopping.set()
            self._inbox.bell.set()
            if leading:
                self._stopping = threading.Event()
                arguments = (self._stopping, self._thread)
                self._thread = threading.Thread(
                    target=self._run, args=arguments, name="hooks-read", daemon=True
                )
                self._thread.start()

    def stop(self, seconds: float) -> bool:
        """End; true if what was being read is saved within *seconds*."""
        self.lead(False)
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, stopping: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        complained = False
        while not stopping.is_set():
            self._inbox.bell.clear()
            began = self._clock.monotonic()
            try:
                busy = self.read_all(stopping)
            except ExporterError as error:
                level = logging.DEBUG if complained else logging.WARNING
                log.log(level, "hooks could not be read; they wait", extra={"error": str(error)})
                complained = True
                stopping.wait(_RETRY_SECONDS)
            except Exception:
                log.exception("hooks could not be read; they wait")
                stopping.wait(_RETRY_SECONDS)
            else:
                complained = False
                self._rest(stopping, self._clock.monotonic() - began if busy else None)

    def _rest(self, stopping: threading.Event, worked: float | None) -> None:
        """Wait for hooks; as long as the last ones took, if any: who receives needs the processor, too."""
        if worked is None:
            self._inbox.bell.wait(_LOOK_SECONDS)
        else:
            stopping.wait(min(worked, _LONGEST_REST_SECONDS))

    def read_all(self, stopping: threading.Event) -> bool:
        """Read a batch for each collector; whether there was anything.

        Raises:
            ExporterError: that of one collector, or of more, could not be read or saved; the others' is.
        """
        busy = False
        failure: ExporterError | None = None
        for name, rounds in list(self._rounds().items()):
            collector = rounds.collector
            # Before it is known what there is, all would have to be ignored.
            if not isinstance(collector, AcceptsHooks) or not rounds.discovered or stopping.is_set():
                continue
            waiting = self._inbox.read(name, self._clock.now(), limit=_AT_ONCE, size=_BYTES_AT_ONCE)
            if waiting:
                try:
                    self._read(name, rounds, collector, waiting)
                except StoreError as error:
                    failure = error
                except Exception as error:
                    # A bug that one collector meets must not stop those that come after it.
                    log.exception("hooks could not be read", extra={"collector": name})
                    failure = ExporterError(f"{name}: {type(error).__name__}: {error}")
                busy = True
        if failure:
            raise failure
        return busy

    def _read(
        self, name: str, rounds: CollectorRounds, collector: AcceptsHooks, waiting: Sequence[Waiting]
    ) -> None:
        """Read one batch of hooks, and take those out of the inbox that are done."""
        read = _Read()
        units: dict[str, _Told] = {}
        for one in waiting:
            for key, news in self._understood(name, collector, one, read):
                units.setdefault(key, _Told(news.unit)).news.append((one, news))
        left = iter(units.values())
        while some := list(islice(left, _UNITS_AT_ONCE)):
            # Rounds that save all the time would otherwise get in between any two of them.
            with rounds.saving_together():
                for told in some:
                    self._save(name, rounds, told, read)
        rounds.show(read.shown)
        ignored = {number: one for number, one in read.ignored.items() if number not in read.watched}
        # Only now: what cannot be saved for an hour is read many times, and is still one hook.
        self._metrics.count(name, Result.NOT_UNDERSTOOD, read.not_understood)
        self._metrics.count(name, Result.FAILED, len(read.failed))
        self._metrics.count(name, Result.IGNORED, len(ignored))
        given_up = self._given_up(name, read.failed)
        done = [one for one in waiting if one.number not in read.failed or one.number in given_up]
        # A repetition of what was of no use is welcome: the sender may be asked for it later.
        forgotten = [one.digest for one in (*ignored.values(), *given_up.values())]
        self._inbox.remove([one.number for one in done], forgotten)
        now = self._clock.now()
        self._metrics.read(name, [(now - one.hook.received_at).total_seconds() for one in done])

    def _understood(
        self, name: str, collector: AcceptsHooks, one: Waiting, read: _Read
    ) -> Sequence[tuple[str, HookNews]]:
        """What a hook says, by unit; nothing if it is not understood, or cannot be read."""
        try:
            return [(news.unit.key, news) for news in collector.read_hook(one.hook)]
        except NotUnderstood as error:
            log.debug("hook not understood", extra={"collector": name, "reason": str(error)})
            read.not_understood += 1
        except Exception:  # noqa: BLE001 - a bug of the collector's; it is logged with its traceback
            self._fail(name, one, read)
        return ()

    def _save(self, name: str, rounds: CollectorRounds, told: _Told, read: _Read) -> None:
        """Save and show what the hooks say of one unit: together if possible, else one by one.

        Raises:
            StoreError: the store does not take anything now.
        """
        try:
            for batch in _together([news.batch for _, news in told.news]):
                watched = self._receive(name, rounds, told.unit, batch, read)
        except Exception as error:
            if isinstance(error, StoreError) and not isinstance(error, Unstorable):
                raise
            if len(told.news) == 1:
                self._fail(name, told.news[0][0], read)
                return
            # One of them is to blame, and the others are not.
            for one in told.news:
                self._save(name, rounds, _Told(told.unit, [one]), read)
            return
        numbers = {one.number: one for one, _ in told.news}
        if watched:
            read.watched |= numbers.keys()
        else:
            read.ignored |= numbers

    def _receive(
        self, name: str, rounds: CollectorRounds, unit: Unit, batch: Batch | None, read: _Read
    ) -> bool:
        """Whether the unit is watched; what is said of it is saved then."""
        received = rounds.take_in(unit, batch)
        if received is None:
            return False
        if received.wakes:
            self._wake(name, unit.key)
        if received.unit_id is not None:
            read.shown.append(received.unit_id)
        return True

    def _fail(self, name: str, one: Waiting, read: _Read) -> None:
        """Book a hook that raised; to be called where that was caught."""
        if one.number not in read.failed:
            # With the traceback, but once: the further tries only repeat it.
            log.log(
                logging.DEBUG if one.tries else logging.ERROR,
                "hook could not be read",
                extra={"collector": name, "number": one.number},
                exc_info=True,
            )
        read.failed[one.number] = one

    def _given_up(self, name: str, failed: Mapping[int, Waiting]) -> dict[int, Waiting]:
        """Those of *failed* that were tried often enough; the others are tried again later."""
        given_up = {}
        for number, one in failed.items():
            if one.tries + 1 >= _TRIES:
                given_up[number] = one
                log.error(
                    "hook given up: nothing of it is saved, send it again once its collector is mended",
                    extra={"collector": name, "tries": _TRIES},
                )
            else:
                self._inbox.postpone(number, self._clock.now() + _NEXT_TRY)
        return given_up


def _together(batches: Sequence[Batch | None]) -> list[Batch | None]:
    """*batches* of one unit, in their order, in as few as possible; ``None`` only asks for a poll."""
    found: list[Batch | None] = []
    for batch in batches:
        last = found[-1] if found else None
        if batch is None:
            continue
        if last is not None and _simple(last) and _simple(batch):
            found[-1] = replace(
                last,
                runs=last.runs + batch.runs,
                jobs=last.jobs + batch.jobs,
                observations=last.observations + batch.observations,
                events=last.events + batch.events,
                unit=batch.unit or last.unit,
            )
        else:
            found.append(batch)
    return [*found, None] if None in batches else found


def _simple(batch: Batch) -> bool:
    """Whether *batch* holds nothing that must be saved before or after others."""
    alone = batch.deleted_runs or batch.refs or batch.given_up or batch.history
    return not (alone or batch.samples is not None)
