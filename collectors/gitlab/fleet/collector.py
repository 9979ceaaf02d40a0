"""The collector of GitLab's runner fleet: who is online, what runs where, and what waits for whom."""

from __future__ import annotations

from dataclasses import replace

from collectors._runners import FleetCollector, together, unavailable
from collectors.gitlab import demos
from collectors.gitlab.fleet.client import RunnersClient
from collectors.gitlab.fleet.reader import FleetReader
from collectors.gitlab.fleet.settings import RunnersConfig
from exporter.contract import Batch, Context, Discovery, Position, Schedule, Unit


class GitLabRunners(FleetCollector[RunnersConfig, RunnersClient]):
    """The runners of an instance, of groups and of projects, as one fleet.

    Over GraphQL a round costs a call per 100 runners of each scope, and for administrators one per 100
    jobs that run or wait. Over REST it costs a list of each scope, the details of a quarter of the
    runners, and the jobs of each online one.
    """

    name = "gitlab_runners"
    config_model = RunnersConfig
    fleet_provider = "gitlab"
    start_demo = staticmethod(demos.runners_source)

    def __init__(self, config: RunnersConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = RunnersClient(config, context, self.name)
        self._reader = FleetReader(self._client, config, context)

    @property
    def schedule(self) -> Schedule:
        """How often to poll, and to read anew what is read only now and then."""
        return replace(super().schedule, discover=self.config.rediscover_interval_seconds)

    def discover(self) -> Discovery:
        """The one fleet there is; what is read only now and then is read at its next poll."""
        self._reader.forget_ways()
        return super().discover()

    def poll(self, unit: Unit, position: Position) -> Batch:
        """The whole fleet; a scope that cannot be read is told, and the others are shown."""
        fleet = self._reader.read()
        troubles = self._reader.troubles
        if self._reader.blind:
            raise unavailable(troubles)
        samples = self._samples(
            fleet,
            self._reader.chosen(fleet.runners),
            at_most=self.config.per_runner.max_runners,
            max_tag_sets=self.config.queue.max_tag_sets,
        )
        return Batch(
            samples=samples,
            trouble=together(troubles) if troubles else None,
            failure=self._reader.failure,
        )
