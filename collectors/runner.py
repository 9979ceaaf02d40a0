"""Runner-style counters of our own engine: its polls, its jobs, its commits and its deliveries."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics_core import Metric
from pydantic import Field

from exporter.contract import Collector, CollectorConfig, Context, DemoSource
from exporter.families import Family
from exporter.runnerfamilies import NAMESPACE, RunnerFamilies, runner_families


class RunnerConfig(CollectorConfig):
    """The block ``collectors.runner``."""

    namespace: str = Field(
        default=NAMESPACE,
        pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$",
        description="what the names begin with; act_runner gives those that act_runner boards chart",
    )
    name: str | None = Field(
        default=None, description="label `name` of the info series; the host name unless set"
    )


class Runner(Collector[RunnerConfig]):
    """What the engine did so far, read at each scrape; it has no source and is not polled.

    Counters go on through a reload, also through one that changes the namespace, since the engine counts
    whether or not anybody looks.
    """

    name = "runner"
    config_model = RunnerConfig
    families = runner_families()
    polled = False

    def __init__(self, config: RunnerConfig, context: Context) -> None:
        super().__init__(config, context)
        self._families: RunnerFamilies = runner_families(config.namespace)

    @property
    def declared(self) -> tuple[Family, ...]:
        """The families under the configured namespace."""
        return self._families

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        """It has no source: the demo's own engine is what there is to see."""
        return DemoSource({}, "the engine of this demo, as ci_exporter_poll_…, _job_… and _report_…", ())

    def collect(self) -> Iterator[Metric]:
        """All of it, from memory."""
        name = self.config.name if self.config.name is not None else socket.gethostname()
        return self.context.work.collect_as(self.config.namespace, name=name)
