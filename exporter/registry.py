"""All collectors in one registry; one that fails costs only its own families."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.contract import Collector
from exporter.errors import ConfigError
from exporter.exposition import Exposition
from exporter.families import Family
from exporter.rendering import Format, gzip_member
from exporter.selfmetrics import SelfMetrics

log = logging.getLogger(__name__)

SELF = "exporter"
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "info": ("_info",),
}
_EOF = b"# EOF\n"


class _Live(Protocol):
    """Anything with prometheus_client's own way to give metrics."""

    def collect(self) -> Iterable[Metric]: ...


class Registry(CollectorRegistry):
    """Our own prometheus_client registry.

    Several collectors may expose one family if they declare the very same object, as all CI
    collectors do; two declarations of one name are refused when the second registers.
    """

    def __init__(self, exposition: Exposition, metrics: SelfMetrics) -> None:
        super().__init__()
        self.exposition = exposition
        self._metrics = metrics
        self._collectors: dict[str, Collector[Any]] = {}
        self._owners: dict[str, tuple[str, object]] = {}
        self._failing: set[str] = set()
        metrics.series = self._series
        metrics.dropped = lambda: dict(exposition.dropped)
        self._claim(SELF, metrics.describe(), {})

    def add(self, collector: Collector[Any]) -> None:
        """Register *collector*.

        Raises:
            ConfigError: one of its metric names is taken by another collector.
        """
        families = {family.name: family for family in collector.families}
        self._claim(collector.name, collector.describe(), families)
        self._collectors[collector.name] = collector

    def discard(self, name: str) -> None:
        """Forget collector *name* and what it exposes."""
        self._collectors.pop(name, None)
        self._owners = {key: owner for key, owner in self._owners.items() if owner[0] != name}
        for other in self._collectors.values():
            self._claim(other.name, other.describe(), {family.name: family for family in other.families})
        self.exposition.remove(name)

    def replace(self, collector: Collector[Any]) -> None:
        """Put *collector* in the place of the one of the same name, keeping what it exposes."""
        self._collectors[collector.name] = collector

    def names(self) -> list[str]:
        """The collectors, ours included, in exposition order."""
        return [*self._collectors, SELF]

    def _claim(self, name: str, described: Iterable[Metric], families: dict[str, Family]) -> None:
        """Take every sample name of *described* for collector *name*, or raise `ConfigError`."""
        claims: dict[str, tuple[str, object]] = {}
        for metric in described:
            identity = families.get(metric.name, metric)
            for suffix in ("", *_SUFFIXES.get(metric.type, ())):
                taken = self._owners.get(metric.name + suffix) or claims.get(metric.name + suffix)
                if taken and taken[1] is not identity:
                    raise ConfigError(
                        f"collector {name} declares the metric {metric.name + suffix}, which collector"
                        f" {taken[0]} already has; disable one of them, or rename the metric"
                    )
                claims[metric.name + suffix] = (name, identity)
        self._owners = claims | self._owners

    def collect(self) -> Iterator[Metric]:
        """Every family of every collector once, what several collectors share put together."""
        merged: dict[str, Metric] = {}
        for collector in self._collectors.values():
            for metric in self._guarded(collector.name, collector):
                if first := merged.get(metric.name):
                    first.samples.extend(metric.samples)
                else:
                    merged[metric.name] = metric
        pages = {family.name for family in self.exposition.families()}
        # The order of the served bytes: what is rendered ahead first, then what is rendered live.
        for name in [
            *(name for name in merged if name in pages),
            *(name for name in merged if name not in pages),
        ]:
            yield merged[name]
        yield from self._guarded(SELF, self._metrics)

    def _guarded(self, name: str, source: _Live) -> list[Metric]:
        """What *source* collects, or nothing if it raises or brings what cannot be written."""
        try:
            metrics = list(source.collect())
            if name not in self._rendered_ahead():
                generate_latest(_Fixed(metrics))
        except Exception:
            if name not in self._failing:
                log.exception("collector failed while being read", extra={"collector": name})
            self._failing.add(name)
            if name != SELF:
                self._metrics.collector_success.labels(name).set(0)
            return []
        self._failing.discard(name)
        return metrics

    def _rendered_ahead(self) -> set[str]:
        """Collectors whose page holds everything they show."""
        return {name for name, collector in self._collectors.items() if collector.polled}

    def render(
        self,
        form: Format,
        *,
        gzip: bool = False,
        names: Sequence[str] = (),
        collectors: Sequence[str] = (),
    ) -> bytes:
        """The whole exposition as bytes; arguments and errors as for :meth:`pieces`."""
        return b"".join(self.pieces(form, gzip=gzip, names=names, collectors=collectors))

    def pieces(
        self,
        form: Format,
        *,
        gzip: bool = False,
        names: Sequence[str] = (),
        collectors: Sequence[str] = (),
    ) -> list[bytes]:
        """The whole exposition in two pieces, rendered ahead and live; joining them would copy megabytes.

        Args:
            gzip: compress, as several gzip members in a row.
            names: show only these families or samples; empty for all.
            collectors: show only these collectors; empty for all.

        Raises:
            LookupError: a collector of that name does not run.
        """
        if unknown := sorted(set(collectors) - set(self.names())):
            raise LookupError(
                f"no collector named {', '.join(unknown)}; there are {', '.join(sorted(self.names()))}"
            )
        # Read before the pages: a collector that fails here must show in its success gauge below.
        live = [
            (name, self._guarded(name, collector))
            for name, collector in self._collectors.items()
            if not collector.polled and (not collectors or name in collectors)
        ]
        body = self.exposition.body(
            form,
            gzip=gzip,
            chosen=_chooser(names) if names else None,
            collectors=collectors or None,
        )
        metrics = [metric for _, found in live for metric in found]
        if not collectors or SELF in collectors:
            metrics += self._guarded(SELF, self._metrics)
        tail = _live_text(form, metrics, names)
        return [body, gzip_member(tail) if gzip else tail]

    def _series(self) -> dict[str, int]:
        """``collector -> series`` of what is rendered ahead."""
        return {
            name: self.exposition.page(name, collector.families).series()
            for name, collector in self._collectors.items()
            if collector.polled
        }


class _Fixed:
    """Hands prometheus_client's renderers a list of metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _live_text(form: Format, metrics: list[Metric], names: Collection[str]) -> bytes:
    """The text of live metrics, with OpenMetrics' end mark."""
    if names:
        metrics = [metric for metric in metrics if _asked_for(metric.name, metric.type, set(names))]
    if form is Format.TEXT:
        return generate_latest(_Fixed(metrics))
    return bytes(generate_openmetrics(_Fixed(metrics)))  # type: ignore[no-untyped-call]


def _chooser(names: Collection[str]) -> Callable[[Family], bool]:
    """A test for families that are asked for in *names*."""
    wanted = set(names)
    return lambda family: _asked_for(family.name, family.kind, wanted)


def _asked_for(name: str, kind: str, wanted: set[str]) -> bool:
    """Whether a family is in *wanted*, by its own name or that of one of its samples."""
    return any(name + suffix in wanted for suffix in ("", *_SUFFIXES.get(kind, ())))
