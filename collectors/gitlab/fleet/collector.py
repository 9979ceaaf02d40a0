"""The collector of GitLab's runner fleet: who is online, what runs where, and what waits for whom."""

from __future__ import annotations

from pathlib import Path

from collectors import _fleet
from collectors._api import ApiCollector
from collectors.gitlab.fleet.client import RunnersClient
from collectors.gitlab.fleet.reader import FleetReader
from collectors.gitlab.fleet.settings import RunnersConfig
from exporter import ci_families
from exporter.contract import (
    Batch,
    Context,
    DemoSource,
    Discovery,
    Position,
    Schedule,
    Unit,
    UnitTrouble,
)
from exporter.errors import UnitUnavailable

_PROVIDER = "gitlab"
_NO_ROOM = "max_runners"


class GitLabRunners(ApiCollector[RunnersConfig, RunnersClient]):
    """The runners of an instance, of groups and of projects, as one fleet.

    Over GraphQL a round costs a call per 100 runners of each scope, and for administrators one per 100
    jobs that run or wait. Over REST it costs a list of each scope, the details of a quarter of the
    runners, and the jobs of each online one.
    """

    name = "gitlab_runners"
    config_model = RunnersConfig
    families = ci_families.RUNNER_FAMILIES
    unit_noun = "fleets"

    def __init__(self, config: RunnersConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = RunnersClient(config, context, self.name)
        self._reader = FleetReader(self._client, config, context)

    @property
    def schedule(self) -> Schedule:
        """How often to poll; what a poll brings is always news, so only failures make it rarer."""
        config = self.config
        longest = max(config.poll_interval_seconds, config.poll_interval_max_seconds)
        return Schedule(config.poll_interval_seconds, longest, config.rediscover_interval_seconds)

    def discover(self) -> Discovery:
        """The one fleet there is; what is read only now and then is read at its next poll."""
        self._reader.forget_ways()
        return Discovery((Unit(self.name, self.config.host_and_path),))

    def poll(self, unit: Unit, position: Position) -> Batch:
        """The whole fleet; a scope that cannot be read is told, and the others are shown."""
        fleet = self._reader.read()
        troubles = self._reader.troubles
        if self._reader.blind:
            raise UnitUnavailable(_together(troubles).detail, troubles[0].reason)
        shown, surplus = self._reader.shown(fleet)
        self.context.page.note_dropped(
            ci_families.RUNNER_INFO, _NO_ROOM, [_fleet.info(_PROVIDER, runner) for runner in surplus]
        )
        return Batch(
            samples=_fleet.samples(_PROVIDER, fleet, shown, max_tag_sets=self.config.queue.max_tag_sets),
            trouble=_together(troubles) if troubles else None,
            failure=self._reader.failure,
        )

    @classmethod
    def start_demo(cls, directory: Path) -> DemoSource:
        """Watch the stand-in GitLab that the demo of pipelines starts."""
        from collectors.gitlab.demos import runners_source

        return runners_source(directory)


def _together(troubles: list[UnitTrouble]) -> UnitTrouble:
    """One trouble that tells all: a poll can report no more."""
    if len(troubles) == 1:
        return troubles[0]
    detail = "; ".join(f"{trouble.name}: {trouble.detail}" for trouble in troubles)
    return UnitTrouble(", ".join(trouble.name for trouble in troubles), troubles[0].reason, detail)
