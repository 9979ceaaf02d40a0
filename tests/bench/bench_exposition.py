"""What a scrape costs against ``generate_latest()`` of the same 150,000 series, in the same run.

Run: ``PYTHONPATH=. python tests/bench/bench_exposition.py``.
CPU time is measured: other programs on the machine then hardly matter. Trust the ratios.
"""

from __future__ import annotations

import gc
import gzip
import time
from collections.abc import Callable

from prometheus_client import generate_latest

from exporter.families import Sample, gauge
from exporter.rendering import Format
from tests.support.fakes import World

FAMILIES = [
    gauge(f"ci_bench_{number}_seconds", "One of ten families.", ("project", "ref", "kind", "source"))
    for number in range(10)
]
PROJECTS = 3_000
REFS = 5
REPEAT = 5
TARGETS = {"nothing changed": 100, "1 % of entities changed": 50, "all values changed": 10}


def best(action: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
    """CPU seconds of the fastest of several runs of *action*, each after *prepare*."""
    times = []
    for _ in range(REPEAT):
        prepare()
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return min(times)


class Bench:
    """150,000 series of 3,000 entities in ten families."""

    def __init__(self) -> None:
        self.world = World(cap=10**6)
        self.page = self.world.polled("bench", *FAMILIES).context.page
        self.turn = 0
        self.labels = [
            [
                (f"group-{entity % 50}/project-{entity}", f"branch-{ref}", "branch", "push")
                for ref in range(REFS)
            ]
            for entity in range(PROJECTS)
        ]
        self.change(PROJECTS)

    def change(self, entities: int) -> None:
        """Give the first *entities* new values."""
        self.turn += 1
        for entity, samples in self.made(entities):
            self.page.swap(entity, samples)

    def made(self, entities: int) -> list[tuple[str, dict]]:  # type: ignore[type-arg]
        """The new samples themselves, which a collector brings in any case."""
        return [
            (
                str(entity),
                {
                    family: [
                        Sample(labels, entity + number + self.turn / 8) for labels in self.labels[entity]
                    ]
                    for number, family in enumerate(FAMILIES)
                },
            )
            for entity in range(entities)
        ]

    def change_and_scrape(self, entities: int, *, packed: bool) -> float:
        """CPU seconds for swapping new values of *entities* and serving them."""
        times = []
        for _ in range(REPEAT):
            self.turn += 1
            made = self.made(entities)
            started = time.process_time()
            for entity, samples in made:
                self.page.swap(entity, samples)
            self.scrape(packed=packed)
            times.append(time.process_time() - started)
        return min(times)

    def scrape(self, *, packed: bool) -> bytes:
        return self.world.registry.render(Format.TEXT, gzip=packed)


def resident_megabytes() -> float:
    """Memory of this process now."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    empty = resident_megabytes()
    bench = Bench()
    bench.scrape(packed=False), bench.scrape(packed=True)
    gc.collect()
    full = resident_megabytes()
    text = bench.scrape(packed=False)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    baseline = best(lambda: generate_latest(bench.world.registry))
    packed_baseline = baseline + best(lambda: gzip.compress(text))
    print(f"{series} series, {len(text) / 1e6:.1f} MB, fastest of {REPEAT}")
    print(f"baseline generate_latest(): {baseline * 1e3:.0f} ms; with gzip {packed_baseline * 1e3:.0f} ms")
    for name, entities in (
        ("nothing changed", 0),
        ("1 % of entities changed", PROJECTS // 100),
        ("all values changed", PROJECTS),
    ):
        for packed in (False, True):
            seconds = bench.change_and_scrape(entities, packed=packed)
            target = TARGETS[name]
            verdict = "met" if seconds <= baseline / target else "MISSED"
            how = "gzip " if packed else "plain"
            print(
                f"{name:24} {how} {seconds * 1e3:8.2f} ms  1/{baseline / seconds:<5.0f}"
                f" target 1/{target} {verdict}"
            )
    verdict = "met" if full < 400 else "MISSED"
    print(f"memory {full:.0f} MB (before the series {empty:.0f} MB), target < 400 MB {verdict}")


if __name__ == "__main__":
    main()
