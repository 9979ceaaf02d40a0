"""Two collectors behind entry points: one with megabytes to show, one that takes as long as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from ci_exporter import Batch, Collector, CollectorConfig, PolledConfig, Position, Sample, Unit, gauge
from prometheus_client.metrics_core import Metric
from pydantic import Field

BRICKS = gauge("wall_brick_temperature_celsius", "One of very many series.", ("course", "brick", "mason"))
PASSAGES = gauge("gate_open", "Whether the gate is open, once it is.")
MASON = "a mason with a name that is long enough to fill a line"
_never = threading.Event()


class WallConfig(PolledConfig):
    bricks: int = Field(default=0, description="how many series to show")


class Wall(Collector[WallConfig]):
    """As many series as asked for, about 130 bytes each in the text format."""

    name = "wall"
    config_model = WallConfig
    families = (BRICKS,)

    def poll(self, unit: Unit, position: Position) -> Batch:
        """Build it."""
        bricks = [
            Sample((f"course-{number // 100:05d}", f"brick-{number:07d}", MASON), number + 0.5)
            for number in range(self.config.bricks)
        ]
        return Batch(samples={BRICKS: bricks})

    def collect(self) -> Iterator[Metric]:
        return self.context.page.collect()


class GateConfig(CollectorConfig):
    folder: Path = Field(description="where the file 'closed' may lie, and 'knocked' is left")


class Gate(Collector[GateConfig]):
    """A scrape that waits while there is a file ``closed``, and says by a file ``knocked`` that it does."""

    name = "gate"
    config_model = GateConfig
    families = (PASSAGES,)
    polled = False

    def collect(self) -> Iterator[Metric]:
        """Pass."""
        closed = self.config.folder / "closed"
        if closed.exists():
            (self.config.folder / "knocked").touch()
        while closed.exists():
            _never.wait(0.02)
        metric = PASSAGES.metric()
        metric.add_sample(PASSAGES.name, {}, 1.0)
        yield metric


def install(folder: Path) -> None:
    """Put into *folder* what makes an installed package of this module, for whoever has it on its path."""
    info = folder / "wall_metrics-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wall-metrics\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[ci_exporter.collectors]\nwall = tests.support.wall:Wall\ngate = tests.support.wall:Gate\n"
    )
