"""What every collector of a CI system has in common: its options, and how runs become series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, ConfigDict, Field, field_validator

from exporter import ci_families
from exporter.contract import Collector, CollectorConfig, Context, PolledConfig
from exporter.families import Samples
from exporter.model.runs import RefKind
from exporter.model.views import UnitView


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RefSelection(_Part):
    """Which refs of one kind get series of their own."""

    enabled: bool = Field(default=True, description="whether refs of this kind get series of their own")
    regexp: str = Field(default=".*", description="only refs that this expression finds")

    @field_validator("regexp")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    def selects(self, ref: str) -> bool:
        """Whether *ref* gets series of its own."""
        return self.enabled and re.search(self.regexp, ref) is not None


class Branches(RefSelection):
    """Branches; by default only the usual default ones."""

    regexp: str = Field(default="^(main|master)$", description="only branches that this expression finds")


class RefSelections(_Part):
    """Which refs of each kind get series of their own."""

    branches: Branches = Field(default_factory=Branches, description="branches with series of their own")
    tags: RefSelection = Field(default_factory=RefSelection, description="tags with series of their own")
    change_requests: RefSelection = Field(
        default_factory=RefSelection, description="merge requests with series of their own"
    )

    def selects(self, kind: RefKind, ref: str) -> bool:
        """Whether the ref gets series of its own."""
        return self.of(kind).selects(ref)

    def of(self, kind: RefKind) -> RefSelection:
        """The selection for one kind."""
        return {
            RefKind.BRANCH: self.branches,
            RefKind.TAG: self.tags,
            RefKind.CHANGE_REQUEST: self.change_requests,
        }[kind]


class Refs(RefSelections):
    """The same; runs of all refs are counted unless ``count`` says otherwise."""

    count: Literal["all", "selected"] = Field(
        default="all", description="whether totals and histograms take runs of all refs, or of selected ones"
    )


class Jobs(_Part):
    """Whether jobs are read, and what is shown of them."""

    enabled: bool = Field(default=True, description="read jobs: totals, durations, retries")
    status: bool = Field(default=False, description="also the state of each job of the newest run of a ref")


class RunsConfig(CollectorConfig):
    """The keys of every collector that keeps runs."""

    refs: Refs = Field(default_factory=Refs, description="which refs get series of their own")
    jobs: Jobs = Field(default_factory=Jobs, description="jobs")
    dense: bool = Field(default=False, description="a 0 for every status that a ref does not have")


class CiConfig(RunsConfig, PolledConfig):
    """The keys of every CI system that is polled."""


C = TypeVar("C", bound=RunsConfig)


class CiCollector(Collector[C], Generic[C]):
    """A collector of runs and jobs: a subclass says what there is and what is new, the rest is the same."""

    families = ci_families.FAMILIES

    def __init__(self, config: C, context: Context) -> None:
        super().__init__(config, context)
        self.job_state = config.jobs.status  # type: ignore[misc]
        self._options = ci_families.RunOptions(
            self.provider, dense=config.dense, job_state=config.jobs.status
        )

    def collect(self) -> Iterator[Metric]:
        """The pages of all projects, from memory."""
        return self.context.page.collect()

    def unit_samples(self, view: UnitView) -> Samples:
        """What one project exposes."""
        return ci_families.unit_samples(view, self._options)
