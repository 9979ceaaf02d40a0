"""The collector of GitLab's deployments: what is deployed where, how it went, and how old it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from collectors._api import ApiCollector
from collectors.gitlab import demos
from collectors.gitlab.deployments.client import DeploymentsClient
from collectors.gitlab.deployments.reader import DeploymentReader, Tiers
from collectors.gitlab.deployments.settings import DeploymentsConfig
from collectors.gitlab.deployments.state import CURSORS, Cursor
from collectors.gitlab.discovery import Discoverer, Feature
from collectors.gitlab.news import stored
from collectors.gitlab.waking import IsNews, WokenByHooks, always
from exporter import ci_delivery_families as families
from exporter.contract import Batch, Context, Discovery, Position, Unit
from exporter.families import Samples
from exporter.model.views import UnitView

_PROVIDER = "gitlab"


class GitLabDeployments(WokenByHooks, ApiCollector[DeploymentsConfig, DeploymentsClient]):
    """Environments and deployments of GitLab projects.

    A steady round costs one call per project, and every ``environments_interval_seconds`` two more: its
    environments, and the head of its default branch. How far an environment is behind costs one more when
    that head, or what is deployed there, has changed.
    """

    name = "gitlab_deployments"
    config_model = DeploymentsConfig
    woken_by: ClassVar[Mapping[str, IsNews]] = {"deployment": always}
    families = families.DEPLOYMENT_FAMILIES
    start_demo = staticmethod(demos.deployments_source)

    def __init__(self, config: DeploymentsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = DeploymentsClient(config, context, self.name)
        self._tiers: dict[str, Tiers] = {}

    def discover(self) -> Discovery:
        """Every project to watch that has environments."""
        discovery = Discoverer(self._client, self.config, Feature.ENVIRONMENTS).run()
        there = {unit.key for unit in discovery.units}
        self._tiers = {key: tiers for key, tiers in self._tiers.items() if key in there}
        return discovery

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What changed in one project since the cursor."""
        tiers = self._tiers.get(unit.key, {})
        reader = DeploymentReader(
            unit,
            client=self._client,
            config=self.config,
            context=self.context,
            tiers=tiers,
            first=unit.key not in self._tiers,
        )
        batch = reader.read(stored(CURSORS, position.cursor, Cursor()), position)
        self._tiers[unit.key] = tiers
        return batch

    def unit_samples(self, view: UnitView) -> Samples:
        """The totals of one project."""
        return families.total_samples(_PROVIDER, view)
