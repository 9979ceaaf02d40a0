"""The collector of GitLab's reports of tests: what the tests of each finished pipeline came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from collectors import _testing
from collectors._api import ApiCollector
from collectors.gitlab import demos
from collectors.gitlab.discovery import Discoverer
from collectors.gitlab.testreports.client import ReportsClient
from collectors.gitlab.testreports.cursor import State
from collectors.gitlab.testreports.reader import Reader
from collectors.gitlab.testreports.settings import ReportsConfig
from collectors.gitlab.waking import IsNews, WokenByHooks, has_ended
from exporter import ci_test_families
from exporter.contract import Batch, Context, Discovery, Position, Unit
from exporter.errors import SourceError, Unauthorized, UnitUnavailable
from exporter.families import Samples
from exporter.model.views import UnitView

_PROVIDER = "gitlab"


class GitLabTests(WokenByHooks, ApiCollector[ReportsConfig, ReportsClient]):
    """Reports of tests, of every finished pipeline once.

    A project without news costs one call. A finished pipeline costs one call for the summary of its report,
    one more if there is a report and its ref may be one to show, and a third, heavy one where tests failed
    and are to be told by name. Jobs that ran again are counted again, those that did not are not.
    """

    name = "gitlab_tests"
    config_model = ReportsConfig
    woken_by: ClassVar[Mapping[str, IsNews]] = {"pipeline": has_ended}
    families = ci_test_families.FAMILIES
    start_demo = staticmethod(demos.tests_source)

    def __init__(self, config: ReportsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = ReportsClient(config, context, self.name)

    def discover(self) -> Discovery:
        """Every project to watch."""
        return Discoverer(self._client, self.config).run()

    def poll(self, unit: Unit, position: Position) -> Batch:
        """What the tests of pipelines came to that finished since the cursor, a bounded number at a time.

        What was read before something failed is saved all the same.
        """
        state = State.parse(position.cursor)
        before = str(state)
        reader = Reader(
            unit,
            state,
            provider=_PROVIDER,
            client=self._client,
            config=self.config,
            clock=self.context.clock,
            unknown=self.context.api.unknown_value,
            counts_from=position.counts_from,
        )
        failure = None
        try:
            reader.read(self.schedule.discover)
        except (Unauthorized, UnitUnavailable):
            raise
        except SourceError as error:
            if str(state) == before:
                raise
            failure = error
        return Batch(
            cursor=str(state),
            samples=_testing.samples((_PROVIDER, unit.name), state.newest),
            quiet=not reader.changed,
            observations=tuple(reader.observations),
            given_up=tuple(
                total for suite in reader.given_up for total in _testing.totals_of(_PROVIDER, suite)
            ),
            trouble=reader.trouble,
            failure=failure,
            more=reader.more,
            busy=state.busy(self.context.clock.now()),
        )

    def unit_samples(self, view: UnitView) -> Samples:
        """What was counted for one project."""
        return _testing.totals(view.name, view.totals)
