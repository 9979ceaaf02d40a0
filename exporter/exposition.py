"""The exposition: rendered blocks of every collector, joined and compressed only where something changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence

from prometheus_client.metrics_core import Metric

from exporter.families import Family, Sample, Samples
from exporter.rendering import (
    Block,
    Format,
    clean,
    gzip_head,
    gzip_member,
    head,
    histogram_values,
    lines_per_sample,
)

log = logging.getLogger(__name__)

_CHUNK_BYTES = 16_384  # rendered text that is compressed as one piece: small ones make a change cheap


class Shelf:
    """The blocks of one family of one page, in chunks that are joined and compressed separately."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.blocks: dict[str, Block] = {}
        self.lines = 0
        self._chunk_of: dict[str, int] = {}
        self._members: list[dict[str, None]] = []
        self._sizes: list[int] = []
        self._plain: list[bytes | None] = []
        self._gzip: list[bytes | None] = []

    def put(self, entity: str, block: Block | None) -> None:
        """Replace the block of *entity*, or remove it."""
        old = self.blocks.pop(entity, None) if block is None else self.blocks.get(entity)
        if block is not None:
            self.blocks[entity] = block
        chunk = self._chunk_of.get(entity)
        if chunk is None:
            if block is None:
                return
            chunk = self._place(entity)
        self.lines += (block.lines if block else 0) - (old.lines if old else 0)
        self._sizes[chunk] += (len(block.text) if block else 0) - (len(old.text) if old else 0)
        self._plain[chunk] = self._gzip[chunk] = None
        if block is None:
            del self._members[chunk][entity], self._chunk_of[entity]

    def _place(self, entity: str) -> int:
        """Put a new entity into the last chunk, or into a fresh one when that is full."""
        if not self._sizes or self._sizes[-1] >= _CHUNK_BYTES:
            self._members.append({})
            self._sizes.append(0)
            self._plain.append(None)
            self._gzip.append(None)
        chunk = len(self._members) - 1
        self._members[chunk][entity] = None
        self._chunk_of[entity] = chunk
        return chunk

    def entities(self) -> Iterator[str]:
        """Entities in the order in which they are exposed."""
        for members in self._members:
            yield from members

    def pieces(self, *, gzip: bool) -> Iterator[bytes]:
        """The text of all chunks, each plain or as a gzip member."""
        for chunk, members in enumerate(self._members):
            if not members:
                continue
            plain = self._plain[chunk]
            if plain is None:
                plain = self._plain[chunk] = b"".join([self.blocks[entity].text for entity in members])
            if not gzip:
                yield plain
                continue
            packed = self._gzip[chunk]
            if packed is None:
                packed = self._gzip[chunk] = gzip_member(plain)
            yield packed


class CollectorPage:
    """Implements :class:`exporter.contract.Page`: the blocks of one collector."""

    def __init__(self, exposition: Exposition, families: Sequence[Family]) -> None:
        self._exposition = exposition
        self.families = tuple(families)
        self.shelves = {family: Shelf(family) for family in families}

    def swap(self, entity: str, samples: Samples) -> None:
        """Replace all that *entity* exposes; families without samples show nothing."""
        if unknown := samples.keys() - self.shelves.keys():
            names = ", ".join(sorted(family.name for family in unknown))
            raise ValueError(f"samples of families that the collector does not declare: {names}")
        with self._exposition.lock:
            for family, shelf in self.shelves.items():
                self._swap_block(shelf, entity, [_cleaned(sample) for sample in samples.get(family, ())])

    def _swap_block(self, shelf: Shelf, entity: str, samples: list[Sample]) -> None:
        """Render and put one block, cut to what the family's cap leaves."""
        old = shelf.blocks.get(entity)
        if old is not None and old.samples == samples:
            return
        kept = self._exposition.admit(shelf.family, entity, samples, old.lines if old else 0)
        shelf.put(entity, Block(shelf.family, kept, old) if kept else None)
        self._exposition.changed()

    def drop(self, entity: str) -> None:
        """Expose nothing of *entity* any more."""
        self.swap(entity, {})

    def clear(self) -> None:
        """Expose nothing at all."""
        for entity in {entity for shelf in self.shelves.values() for entity in shelf.blocks}:
            self.drop(entity)

    def entities(self) -> set[str]:
        """Everything that exposes anything."""
        with self._exposition.lock:
            return {entity for shelf in self.shelves.values() for entity in shelf.blocks}

    def series(self) -> int:
        """How many series there are."""
        return sum(shelf.lines for shelf in self.shelves.values())

    def collect(self) -> Iterator[Metric]:
        """All of it as prometheus_client metrics, in exposition order; empty families included."""
        for family, shelf in self.shelves.items():
            metric = family.metric()
            with self._exposition.lock:
                samples = [sample for entity in shelf.entities() for sample in shelf.blocks[entity].samples]
            for sample in samples:
                _add(metric, family, sample)
            yield metric


def _cleaned(sample: Sample) -> Sample:
    """*sample* with label values that can be written; almost always the same object."""
    if "".join(sample.labels).isascii():
        return sample
    return Sample(tuple(map(clean, sample.labels)), sample.value)


def _add(metric: Metric, family: Family, sample: Sample) -> None:
    """Add *sample* to *metric* the way prometheus_client's own classes do."""
    labels = dict(zip(family.labels, sample.labels, strict=True))
    if family.kind != "histogram":
        metric.add_sample(family.exposed_name, labels, sample.value)  # type: ignore[arg-type]
        return
    *buckets, count, total = histogram_values(family, sample)
    for bound, value in buckets:
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, value)
    metric.add_sample(f"{family.name}_count", labels, count[1])
    metric.add_sample(f"{family.name}_sum", labels, total[1])


class Exposition:
    """All pages together: what a scrape is served from, without rendering anything that did not change."""

    def __init__(self, *, max_series_per_family: int = 50_000) -> None:
        self.lock = threading.RLock()
        self.max_series_per_family = max_series_per_family
        self.dropped: dict[str, int] = {}
        self._pages: dict[str, CollectorPage] = {}
        self._generation = 0
        self._overflow: dict[tuple[str, str], int] = {}
        self._bodies: dict[tuple[Format, bool], tuple[int, bytes]] = {}

    def page(self, name: str, families: Sequence[Family]) -> CollectorPage:
        """The page of collector *name*, made anew unless it exists with the same families."""
        with self.lock:
            page = self._pages.get(name)
            if page is None or page.families != tuple(families):
                self._pages[name] = page = CollectorPage(self, families)
                self.changed()
            return page

    def remove(self, name: str) -> None:
        """Forget the page of a collector that is gone."""
        with self.lock:
            self._pages.pop(name, None)
            self.changed()

    def changed(self) -> None:
        """Note that cached bodies are stale."""
        self._generation += 1

    def admit(self, family: Family, entity: str, samples: list[Sample], replaced: int) -> list[Sample]:
        """As many of *samples* as the family's cap leaves room for; the rest is counted and logged once."""
        each = lines_per_sample(family)
        shown = sum(page.shelves[family].lines for page in self._pages.values() if family in page.shelves)
        room = max(0, self.max_series_per_family - (shown - replaced)) // each
        overflow = max(0, len(samples) - room) * each
        before = self._overflow.get((family.name, entity), 0)
        if overflow:
            if family.name not in self.dropped:
                log.warning(
                    "series cap reached, further series of this family are dropped",
                    extra={"family": family.name, "max_series_per_family": self.max_series_per_family},
                )
            self._overflow[family.name, entity] = overflow
            self.dropped[family.name] = self.dropped.get(family.name, 0) + max(0, overflow - before)
            return samples[:room]
        if before:
            del self._overflow[family.name, entity]
        return samples

    def families(self) -> list[Family]:
        """Every declared family once, in exposition order."""
        with self.lock:
            return list(dict.fromkeys(family for page in self._pages.values() for family in page.families))

    def body(
        self,
        form: Format,
        *,
        gzip: bool,
        chosen: Callable[[Family], bool] | None = None,
        collectors: Collection[str] | None = None,
    ) -> bytes:
        """The text of every family (without OpenMetrics' end mark), from cache unless something changed.

        Args:
            chosen: keep only families for which this is true; such a body is not cached.
            collectors: keep only the pages of these collectors; such a body is not cached.
        """
        with self.lock:
            if chosen is None and collectors is None:
                cached = self._bodies.get((form, gzip))
                if cached is None or cached[0] != self._generation:
                    cached = (self._generation, self._join(form, gzip, None, None))
                    self._bodies[form, gzip] = cached
                return cached[1]
            return self._join(form, gzip, chosen, collectors)

    def _join(
        self,
        form: Format,
        gzip: bool,
        chosen: Callable[[Family], bool] | None,
        collectors: Collection[str] | None,
    ) -> bytes:
        """Put heads and chunks together."""
        pages = [page for name, page in self._pages.items() if collectors is None or name in collectors]
        pieces: list[bytes] = []
        for family in dict.fromkeys(family for page in pages for family in page.families):
            if chosen is not None and not chosen(family):
                continue
            pieces.append(gzip_head(family, form) if gzip else head(family, form))
            for page in pages:
                if shelf := page.shelves.get(family):
                    pieces.extend(shelf.pieces(gzip=gzip))
        return b"".join(pieces)
