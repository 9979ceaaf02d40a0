"""All collectors in one registry; one that fails costs only its own families."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.contract import Collector
from exporter.errors import ConfigError
from exporter.exposition import LIMIT, Exposition
from exporter.families import Family
from exporter.rendering import Format, checksum, deflated, gzip_end
from exporter.selfmetrics import SelfMetrics

log = logging.getLogger(__name__)

SELF = "exporter"
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "summary": ("_sum", "_count", "_created"),
    "info": ("_info",),
}


class _Live(Protocol):
    """Anything with prometheus_client's own way to give metrics."""

    def collect(self) -> Iterable[Metric]: ...


class Registry(CollectorRegistry):
    """Our own prometheus_client registry.

    Several collectors may expose one family if they declare the very same object, as all CI
    collectors do; two declarations of one name are refused when the second registers. Polled
    collectors are served from their pages; the others, which are read live, come after them, and with
    them the families that collectors of both sorts share.
    """

    def __init__(self, exposition: Exposition, metrics: SelfMetrics) -> None:
        super().__init__()
        self.exposition = exposition
        self._metrics = metrics
        # Replaced, never changed: a scrape in another thread may be walking over them.
        self._collectors: dict[str, Collector[Any]] = {}
        self._declared: dict[str, dict[str, Metric]] = {}
        self._claims = {SELF: _claims(SELF, list(metrics.describe()), {})}
        self._shared: frozenset[str] = frozenset()
        self._failing: set[str] = set()
        metrics.series = exposition.series
        metrics.dropped = self._dropped

    def add(self, collector: Collector[Any]) -> None:
        """Register *collector*.

        Raises:
            ConfigError: its name, or one of its metric names, is taken by another collector.
        """
        if collector.name == SELF or collector.name in self._collectors:
            raise ConfigError(f"there is a collector named {collector.name} already; rename this one")
        described = self._described(collector)
        claims = _claims(collector.name, described, _by_name(collector))
        for other, taken in self._claims.items():
            for name, identity in claims.items():
                if name in taken and taken[name] is not identity:
                    raise ConfigError(
                        f"collector {collector.name} declares the metric {name}, which collector"
                        f" {other} already has; disable one of them, or rename the metric"
                    )
        self._take(collector, described, claims)

    def replace(self, collector: Collector[Any]) -> None:
        """Put *collector* in the place of the one of the same name, keeping what it exposes."""
        described = self._described(collector)
        self._take(collector, described, _claims(collector.name, described, _by_name(collector)))

    def discard(self, name: str) -> None:
        """Forget collector *name* and what it exposes."""
        self._collectors = {key: value for key, value in self._collectors.items() if key != name}
        self._declared = {key: value for key, value in self._declared.items() if key != name}
        self._claims.pop(name, None)
        self._failing.discard(name)
        self._arrange()
        self.exposition.remove(name)

    def _take(self, collector: Collector[Any], described: list[Metric], claims: dict[str, object]) -> None:
        """Make *collector* one of ours."""
        self._claims[collector.name] = claims
        declared = {metric.name: metric for metric in described}
        self._declared = {**self._declared, collector.name: declared}
        self._collectors = {**self._collectors, collector.name: collector}
        self._arrange()

    def _arrange(self) -> None:
        """Tell the exposition whose pages to serve, and what live collectors add to."""
        polled = [collector for collector in self._collectors.values() if collector.polled]
        live = {
            family
            for collector in self._collectors.values()
            if not collector.polled
            for family in collector.declared
        }
        shared = {family for collector in polled for family in collector.declared} & live
        self._shared = frozenset(family.name for family in shared)
        self.exposition.show([collector.name for collector in polled], leave_out=shared)

    def _described(self, collector: Collector[Any]) -> list[Metric]:
        """What *collector* says it may expose; what its class declares if it cannot say."""
        try:
            return list(collector.describe())
        except Exception:  # noqa: BLE001 - logged there; a plugin's bug must not cost everybody's scrape
            self._fail(collector.name, "collector failed to describe its metrics")
            return [family.metric() for family in collector.declared]

    def names(self) -> list[str]:
        """The collectors, ours included, in exposition order."""
        return [*self._collectors, SELF]

    # -- reading -------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Every family of every collector once, in the order of the served bytes."""
        ahead: dict[str, Metric] = {}
        live: dict[str, Metric] = {}
        for name, collector in self._collectors.items():
            for metric in self._guarded(name, collector):
                _merge(ahead if collector.polled and metric.name not in self._shared else live, metric)
        order = [family.name for family in self.exposition.families()]
        yield from (ahead[name] for name in dict.fromkeys([*order, *ahead]) if name in ahead)
        yield from live.values()
        yield from self._guarded(SELF, self._metrics)

    def _live(self, chosen: Collection[str]) -> list[Metric]:
        """What is not rendered ahead, of the collectors *chosen* (empty for all)."""
        found: dict[str, Metric] = {}
        for name, collector in self._collectors.items():
            if (chosen and name not in chosen) or (collector.polled and not self._shared):
                continue
            for metric in self._guarded(name, collector):
                if not collector.polled or metric.name in self._shared:
                    _merge(found, metric)
        return list(found.values())

    def _guarded(self, name: str, source: _Live) -> list[Metric]:
        """What *source* collects, or nothing if it raises or brings what cannot be written."""
        collector = self._collectors.get(name)
        polled = collector is not None and collector.polled
        try:
            metrics = list(source.collect())
            if collector:
                _check_declared(metrics, self._declared.get(name, {}), samples=not polled)
            if collector and not polled:
                # Both: each of them takes something that the other one refuses.
                for form in Format:
                    _text(form, metrics)
        except Exception:  # noqa: BLE001 - logged there; a plugin's bug must not cost everybody's scrape
            self._fail(name, "collector failed while being read")
            return []
        self._failing.discard(name)
        if collector and not polled:
            self._metrics.collector_success.labels(name).set(1)
        return metrics

    def _fail(self, name: str, what: str) -> None:
        """Note that collector *name* failed; to be called where the exception is handled."""
        if name not in self._failing:
            log.exception(what, extra={"collector": name})
        self._failing.add(name)
        if name != SELF:
            self._metrics.collector_success.labels(name).set(0)

    # -- rendering -----------------------------------------------------------------------------

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
        """The whole exposition in pieces: what is rendered ahead, then what is live.

        Args:
            gzip: compress.
            names: show only these families or samples; empty for all.
            collectors: show only these collectors; empty for all.

        Raises:
            LookupError: a collector of that name does not run.
        """
        if unknown := sorted(set(collectors) - set(self.names())):
            raise LookupError(
                f"no collector named {', '.join(unknown)}; there are {', '.join(sorted(self.names()))}"
            )
        # Read before our own: a collector that fails here must show in its success gauge below.
        live = self._live(collectors)
        ahead = self.exposition.gather(
            form,
            gzip=gzip,
            chosen=_chooser(names) if names else None,
            collectors=collectors or None,
        )
        if not collectors or SELF in collectors:
            live += self._guarded(SELF, self._metrics)
        if names:
            live = [metric for metric in live if _asked_for(metric.name, metric.type, set(names))]
        tail = _text(form, live)
        if not gzip:
            return [*ahead.pieces, tail]
        end = gzip_end(checksum(tail, ahead.crc), ahead.size + len(tail))
        return [*ahead.pieces, deflated(tail) + end]

    def _dropped(self) -> dict[tuple[str, str], int]:
        """``(family, reason) -> series dropped``, from 0 on: ``rate()`` does not see a first value."""
        zeros = {(family.exposed_name, LIMIT): 0 for family in self.exposition.families()}
        return zeros | self.exposition.dropped


class _Fixed:
    """Hands prometheus_client's renderers a list of metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _text(form: Format, metrics: list[Metric]) -> bytes:
    """The text of *metrics*, with OpenMetrics' end mark."""
    if form is Format.TEXT:
        return generate_latest(_Fixed(metrics))
    return bytes(generate_openmetrics(_Fixed(metrics)))  # type: ignore[no-untyped-call]


def _merge(into: dict[str, Metric], metric: Metric) -> None:
    """Add *metric*, or its samples if the family is there already; neither object is changed."""
    if first := into.get(metric.name):
        metric, more = copy.copy(first), metric.samples
        metric.samples = [*first.samples, *more]
    into[metric.name] = metric


def _by_name(collector: Collector[Any]) -> dict[str, Family]:
    """The declared families by name; raises `ConfigError` if two objects have one name."""
    families: dict[str, Family] = {}
    for family in collector.declared:
        if families.setdefault(family.name, family) is not family:
            raise ConfigError(f"collector {collector.name} declares the metric {family.name} twice")
    return families


def _claims(name: str, described: list[Metric], families: dict[str, Family]) -> dict[str, object]:
    """``sample name -> what declares it`` of collector *name*; raises `ConfigError` if two do."""
    claims: dict[str, object] = {}
    for metric in described:
        identity = families.get(metric.name, metric)
        for sample_name in _sample_names(metric):
            if claims.setdefault(sample_name, identity) is not identity:
                raise ConfigError(f"collector {name} declares the metric {sample_name} twice")
    return claims


def _sample_names(metric: Metric) -> set[str]:
    """The names that samples of *metric* may have, and the family's own."""
    return {metric.name + suffix for suffix in ("", *_SUFFIXES.get(metric.type, ()))}


def _check_declared(metrics: list[Metric], declared: dict[str, Metric], *, samples: bool) -> None:
    """Raise `ValueError` if a collector brings what it did not declare: it might be another one's."""
    for metric in metrics:
        known = declared.get(metric.name)
        if known is None or known.type != metric.type:
            raise ValueError(f"the metric {metric.name} ({metric.type}) was not declared")
        if samples and (strangers := {sample.name for sample in metric.samples} - _sample_names(metric)):
            raise ValueError(f"the metric {metric.name} has samples named {', '.join(sorted(strangers))}")


def _chooser(names: Collection[str]) -> Callable[[Family], bool]:
    """A test for families that are asked for in *names*."""
    wanted = set(names)
    return lambda family: _asked_for(family.name, family.kind, wanted)


def _asked_for(name: str, kind: str, wanted: set[str]) -> bool:
    """Whether a family is in *wanted*, by its own name or that of one of its samples."""
    return any(name + suffix in wanted for suffix in ("", *_SUFFIXES.get(kind, ())))
