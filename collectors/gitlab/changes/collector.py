"""The collector of GitLab's merge requests: how many are open, and how long review and merge take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from collectors._api import ApiCollector
from collectors.gitlab import demos
from collectors.gitlab.changes.client import ChangesClient
from collectors.gitlab.changes.reader import CURSORS, ChangeReader, Cursor, Memory
from collectors.gitlab.changes.settings import ChangesConfig
from collectors.gitlab.discovery import Discoverer, Feature
from collectors.gitlab.news import stored
from collectors.gitlab.waking import IsNews, WokenByHooks, always, is_of_a_merge_request
from exporter import ci_delivery_families as families
from exporter.contract import Batch, Context, Discovery, Position, Unit
from exporter.families import Samples
from exporter.model.views import UnitView

_PROVIDER = "gitlab"


class GitLabChanges(WokenByHooks, ApiCollector[ChangesConfig, ChangesClient]):
    """Merge requests of GitLab projects.

    A steady round costs one call per project, and one more for each merge request that changed and has not
    been reviewed and approved yet: its notes, which tell when both happened. At a start, and every
    ``rediscover_interval_seconds``, the open ones are listed, a call per page.
    """

    name = "gitlab_changes"
    config_model = ChangesConfig
    woken_by: ClassVar[Mapping[str, IsNews]] = {"merge_request": always, "note": is_of_a_merge_request}
    families = families.CHANGE_FAMILIES
    start_demo = staticmethod(demos.changes_source)

    def __init__(self, config: ChangesConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = ChangesClient(config, context, self.name)
        self._memories: dict[str, Memory] = {}

    def discover(self) -> Discovery:
        """Every project to watch that has merge requests."""
        discovery = Discoverer(self._client, self.config, Feature.CHANGES).run()
        there = {unit.key for unit in discovery.units}
        self._memories = {key: memory for key, memory in self._memories.items() if key in there}
        return discovery

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What changed in one project since the cursor."""
        reader = ChangeReader(
            unit,
            self._memories.setdefault(unit.key, Memory()),
            client=self._client,
            config=self.config,
            context=self.context,
        )
        return reader.read(stored(CURSORS, position.cursor, Cursor()), position)

    def unit_samples(self, view: UnitView) -> Samples:
        """The totals of one project."""
        return families.total_samples(_PROVIDER, view)
