"""What the status page takes from our own exposition: freshness, and jobs that wait for a runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

LAST_SUCCESS = "ci_exporter_last_success_timestamp_seconds"
SUCCESS = "ci_exporter_collector_success"
QUEUE = "ci_runner_queue_jobs"
RUNNERS = "ci_runners"
NAMES = (LAST_SUCCESS, SUCCESS, QUEUE, RUNNERS)


@dataclass(frozen=True, slots=True)
class Known:
    """Values by collector, and waiting jobs by the type of runner that may take them.

    ``waiting`` is ``None`` where no collector tells of runners.
    """

    last_success: Mapping[str, float]
    failing: frozenset[str]
    waiting: Mapping[str, int] | None


def read_known(exposition: str) -> Known:
    """What *exposition* says, a text with the families ``NAMES``."""
    found = {family.name: family.samples for family in text_string_to_metric_families(exposition)}
    waiting: dict[str, int] | None = None
    if found.get(QUEUE) or found.get(RUNNERS):
        waiting = {}
        for sample in found.get(QUEUE, ()):
            kind = sample.labels["runner_type"]
            waiting[kind] = waiting.get(kind, 0) + int(sample.value)
    return Known(
        last_success={one.labels["collector"]: one.value for one in found.get(LAST_SUCCESS, ())},
        failing=frozenset(one.labels["collector"] for one in found.get(SUCCESS, ()) if not one.value),
        waiting=waiting,
    )
