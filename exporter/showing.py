"""What a scrape would show now, for sinks that look at it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from prometheus_client.parser import text_string_to_metric_families

from exporter.registry import Registry
from exporter.rendering import Format
from exporter.sinks.base import ShownValue


class ShownByRegistry:
    """Implements :class:`exporter.sinks.base.Shown` on *registry*; *ready* tells when all was read once.

    Families of many thousand series are read as text once for each time that they change.
    """

    def __init__(self, registry: Registry, ready: Callable[[], bool]) -> None:
        self._registry = registry
        self.ready = ready
        self._read: dict[tuple[str, ...], tuple[bytes, list[ShownValue]]] = {}

    def values(self, names: Collection[str]) -> list[ShownValue]:
        """The samples of the families *names*."""
        key = tuple(sorted(names))
        text = self._registry.render(Format.TEXT, names=key)
        known = self._read.get(key)
        if known is None or known[0] != text:
            known = self._read[key] = (text, _parsed(text))
        return known[1]


def _parsed(text: bytes) -> list[ShownValue]:
    return [
        ShownValue(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
