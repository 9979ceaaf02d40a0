"""The exposition: rendered blocks of every collector, joined and compressed only where something changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from exporter.families import Columns, Family, Sample, Samples, Stamped
from exporter.rendering import (
    GZIP_START,
    Block,
    Format,
    checksum,
    cleaned,
    deflated,
    deflated_head,
    head,
    histogram_values,
    in_seconds,
    lines_per_sample,
)
from exporter.shelf import Shelf

log = logging.getLogger(__name__)

LIMIT, DUPLICATE = "limit", "duplicate"
_HANDFUL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Gathered:
    """A body in pieces: whoever sends them one after the other never needs all of it in one place.

    ``size`` and ``crc`` are those of the plain text; ``crc`` is 0 where the pieces are plain as well.
    """

    pieces: list[bytes]
    size: int
    crc: int = 0


class CollectorPage:
    """Implements :class:`exporter.contract.Page`: the blocks of one collector."""

    def __init__(self, exposition: Exposition, families: Sequence[Family]) -> None:
        self._exposition = exposition
        self.shelves = {family: Shelf(family) for family in families}

    @property
    def families(self) -> tuple[Family, ...]:
        """What may be shown here, in exposition order."""
        return tuple(self.shelves)

    def declare(self, families: Sequence[Family]) -> None:
        """Show *families* from now on; what was shown of others is gone, of these it stays."""
        with self._exposition.lock:
            if self.families != tuple(families):
                self.shelves = {family: self.shelves.get(family) or Shelf(family) for family in families}
                self._exposition.changed()

    def swap(self, entity: str, samples: Samples) -> None:
        """Replace all that *entity* exposes, or nothing of it if any sample cannot be shown.

        Families without samples show nothing. What exceeds a family's cap is left out and counted.

        Raises:
            LabelMismatch: a sample has other labels than its family.
            ValueError: samples of a family that is not declared, or a value that is no number.
            TypeError: a value that is no number.
        """
        if unknown := samples.keys() - self.shelves.keys():
            names = ", ".join(sorted(family.name for family in unknown))
            raise ValueError(f"samples of families that the collector does not declare: {names}")
        with self._exposition.lock:
            # All is rendered before the first block is put: half an entity would be worse than the old one.
            changes = [
                change
                for family, shelf in self.shelves.items()
                if (change := self._change(shelf, entity, samples.get(family, ())))
            ]
            for shelf, block, overflow in changes:
                shelf.put(entity, block)
                if overflow or shelf.cut:
                    self._exposition.note_overflow(shelf, entity, overflow)
            if changes:
                self._exposition.changed()
        # Between the swaps of a round, scrapes that wait for Python's lock go first.
        time.sleep(0)

    def note_dropped(self, family: Family, reason: str, series: Sequence[Sample]) -> None:
        """Count *series* that were left out for *reason*; the first of a family is logged."""
        with self._exposition.lock:
            self._exposition.note_dropped(family, reason, series)

    def _change(
        self, shelf: Shelf, entity: str, samples: Sequence[Sample]
    ) -> tuple[Shelf, Block | None, int] | None:
        """The new block, cut to what the cap leaves, and the lines that cost; ``None`` if all is as is."""
        old = shelf.get(entity)
        if not samples:
            return (shelf, None, 0) if old or entity in shelf.cut else None
        if isinstance(samples, Columns):
            labels, values = samples.labels, samples.values
        else:
            labels, values = zip(*samples, strict=True)
        if old is None or labels != old.labels:
            once, repeated = cleaned(samples)
            if repeated:
                self._exposition.note_dropped(shelf.family, DUPLICATE, repeated)
            return self._new_labels(shelf, entity, once, old)
        if values == old.values:
            return (shelf, old, 0) if entity in shelf.cut else None
        return shelf, Block(shelf.family, labels, values, old.template), 0

    def _new_labels(
        self, shelf: Shelf, entity: str, samples: list[Sample], old: Block | None
    ) -> tuple[Shelf, Block | None, int] | None:
        """As :meth:`_change`, for samples that the old block has no template for."""
        each = lines_per_sample(shelf.family)
        room = self._exposition.room(shelf.family) + (old.lines if old else 0)
        kept = samples[: max(0, room) // each]
        overflow = (len(samples) - len(kept)) * each
        if overflow == shelf.cut.get(entity, 0) and kept == (old.samples if old else []):
            return None
        if not kept:
            return shelf, None, overflow
        labels, values = zip(*kept, strict=True)
        return shelf, Block(shelf.family, labels, values), overflow

    def drop(self, entity: str) -> None:
        """Expose nothing of *entity* any more."""
        self.swap(entity, {})

    def clear(self) -> None:
        """Expose nothing at all."""
        with self._exposition.lock:
            for entity in self.entities():
                self.drop(entity)

    def entities(self) -> set[str]:
        """Everything that exposes anything."""
        with self._exposition.lock:
            return {entity for shelf in self.shelves.values() for entity in shelf.entities()}

    def starved(self) -> set[str]:
        """Entities that were cut by a cap which has room again, for whom another swap brings more."""
        with self._exposition.lock:
            return {
                entity
                for family, shelf in self.shelves.items()
                if shelf.cut and self._exposition.room(family) >= lines_per_sample(family)
                for entity in shelf.cut
            }

    def series(self) -> int:
        """How many series there are."""
        return sum(shelf.lines for shelf in self.shelves.values())

    def collect(self) -> Iterator[Metric]:
        """All of it as prometheus_client metrics, in exposition order; empty families of ours included."""
        for family, shelf in self.shelves.items():
            metric = family.metric()
            if family.sparse and not shelf.lines:
                continue
            with self._exposition.lock:
                samples = [sample for block in shelf.blocks() for sample in block.samples]
            for sample in samples:
                _add(metric, family, sample)
            yield metric


def _add(metric: Metric, family: Family, sample: Sample) -> None:
    """Add *sample* to *metric* the way prometheus_client's own classes do."""
    pairs = zip(family.labels, sample.labels, strict=True)
    labels = {name: value for name, value in pairs if value is not None}
    if isinstance(sample.value, Stamped):
        number, milliseconds = sample.value
        metric.add_sample(family.exposed_name, labels, number, milliseconds / 1000)
        return
    if family.kind != "histogram":
        metric.add_sample(family.exposed_name, labels, sample.value)  # type: ignore[arg-type]
        return
    *buckets, count, total = histogram_values(family, sample)
    for bound, value in buckets:
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, value)
    metric.add_sample(f"{family.name}_count", labels, count[1])
    metric.add_sample(f"{family.name}_sum", labels, total[1])


class Exposition:
    """All pages together: what a scrape is served from, without rendering anything that did not change.

    A page is filled before its collector is registered, and may never be (a reload that is refused);
    only pages that :meth:`show` named are served.
    """

    def __init__(self, *, max_series_per_family: int = 50_000) -> None:
        self.lock = threading.RLock()
        self.max_series_per_family = max_series_per_family
        self.dropped: dict[tuple[str, str], int] = {}
        self._pages: dict[str, CollectorPage] = {}
        self._shown: tuple[str, ...] = ()
        self._left_out: frozenset[Family] = frozenset()
        self._generation = 0
        self._cached: dict[tuple[Format, bool], tuple[int, Gathered]] = {}

    def page(self, name: str, families: Sequence[Family]) -> CollectorPage:
        """The page of collector *name*; a new one shows *families*, another one what it was told to."""
        with self.lock:
            page = self._pages.get(name)
            if page is None:
                self._pages[name] = page = CollectorPage(self, families)
                self.changed()
            return page

    def remove(self, name: str) -> None:
        """Forget the page of a collector that is gone."""
        with self.lock:
            self._pages.pop(name, None)
            self.changed()

    def show(self, names: Sequence[str], *, leave_out: Collection[Family] = ()) -> None:
        """Serve the pages of the collectors *names*, in this order.

        Args:
            leave_out: families that somebody else renders, because live collectors add to them.
        """
        with self.lock:
            self._shown = tuple(names)
            self._left_out = frozenset(leave_out)
            self.changed()

    def changed(self) -> None:
        """Note that cached bodies are stale."""
        self._generation += 1

    def room(self, family: Family) -> int:
        """How many more series of *family* its cap allows."""
        shown = sum(page.shelves[family].lines for page in self._pages.values() if family in page.shelves)
        return self.max_series_per_family - shown

    def note_overflow(self, shelf: Shelf, entity: str, overflow: int) -> None:
        """Count what was cut and was not before; log it once per family."""
        before = shelf.cut.pop(entity, 0)
        if not overflow:
            return
        shelf.cut[entity] = overflow
        key = (shelf.family.exposed_name, LIMIT)
        if key not in self.dropped:
            log.warning(
                "series cap reached, further series of this family are dropped",
                extra={"family": key[0], "max_series_per_family": self.max_series_per_family},
            )
        self.dropped[key] = self.dropped.get(key, 0) + max(0, overflow - before)

    def note_dropped(self, family: Family, reason: str, series: Sequence[Sample]) -> None:
        """Count *series* that were left out for *reason*; the first of a family is logged."""
        if not series:
            return
        key = (family.exposed_name, reason)
        if key not in self.dropped:
            labels = dict(zip(family.labels, series[0].labels, strict=False))  # refused later if they differ
            log.warning(
                "series dropped; further ones of this family for this reason are only counted",
                extra={"family": key[0], "reason": reason, "labels": labels},
            )
        self.dropped[key] = self.dropped.get(key, 0) + len(series) * lines_per_sample(family)

    def series(self) -> dict[str, int]:
        """``collector -> series`` of the pages that are served."""
        with self.lock:
            return {name: page.series() for name, page in self._served(None)}

    def families(self) -> list[Family]:
        """Every family of the pages that are served once, in exposition order."""
        with self.lock:
            declared = dict.fromkeys(family for _, page in self._served(None) for family in page.families)
            return [family for family in declared if family not in self._left_out]

    def _served(self, collectors: Collection[str] | None) -> list[tuple[str, CollectorPage]]:
        """``(collector, page)`` of what is shown, of *collectors* only if given."""
        return [
            (name, self._pages[name])
            for name in self._shown
            if name in self._pages and (collectors is None or name in collectors)
        ]

    def gather(
        self,
        form: Format,
        *,
        gzip: bool,
        chosen: Callable[[Family], bool] | None = None,
        collectors: Collection[str] | None = None,
    ) -> Gathered:
        """The text of every family (without OpenMetrics' end mark), from cache unless something changed.

        Args:
            gzip: compressed pieces, the gzip header first; :func:`gzip_end` is to follow them.
            chosen: keep only families for which this is true; such an answer is not cached.
            collectors: keep only the pages of these collectors; such an answer is not cached.
        """
        with self.lock:
            if chosen is not None or collectors is not None:
                return self._gather(form, gzip, chosen, collectors)
            cached = self._cached.get((form, gzip))
            if cached is None or cached[0] != self._generation:
                cached = (self._generation, self._gather(form, gzip, None, None))
                self._cached[form, gzip] = cached
            return cached[1]

    def _gather(
        self,
        form: Format,
        gzip: bool,
        chosen: Callable[[Family], bool] | None,
        collectors: Collection[str] | None,
    ) -> Gathered:
        """Heads and chunks in order, by the handful."""
        pages = [page for _, page in self._served(collectors)]
        texts: list[bytes] = []
        # In one handful with what follows: a packet of ten bytes would wait for an answer of its own.
        packed = [GZIP_START]
        for family in dict.fromkeys(family for page in pages for family in page.families):
            if family in self._left_out or (chosen is not None and not chosen(family)):
                continue
            shelves = [shelf for page in pages if (shelf := page.shelves.get(family))]
            lines = [text for shelf in shelves for text in shelf.texts()]
            if family.sparse and not lines:
                continue
            in_openmetrics = family.stamped and form is Format.OPENMETRICS
            if in_openmetrics:
                lines = list(map(in_seconds, lines))
            texts += [head(family, form), *lines]
            if gzip:
                packed.append(deflated_head(family, form))
                if in_openmetrics:
                    packed += map(deflated, lines)
                else:
                    packed += [part for shelf in shelves for part in shelf.deflated()]
        size = sum(map(len, texts))
        if not gzip:
            return Gathered(list(_handfuls(texts)), size)
        crc = 0
        for text in texts:
            crc = checksum(text, crc)
        return Gathered(list(_handfuls(packed)), size, crc)


def _handfuls(pieces: list[bytes]) -> Iterator[bytes]:
    """*pieces* joined to what one write to a socket takes, so that a scrape joins and copies nothing."""
    handful: list[bytes] = []
    size = 0
    for piece in pieces:
        if handful and size + len(piece) > _HANDFUL_BYTES:
            yield b"".join(handful)
            handful, size = [], 0
        handful.append(piece)
        size += len(piece)
    if handful:
        yield b"".join(handful)
