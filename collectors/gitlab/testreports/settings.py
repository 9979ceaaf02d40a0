"""What may stand under ``collectors.gitlab_tests``."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from collectors._ci import RefSelections
from collectors.gitlab.settings import Watched
from exporter.contract import PolledConfig


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ReportedRefs(RefSelections):
    """Which refs have their newest report shown; the reports of all refs are counted."""

    max_refs: int = Field(default=50, ge=1, le=1000, description="so many of a project at most, the newest")


class Cases(_Part):
    """Whether single tests are shown by name."""

    enabled: bool = Field(
        default=False, description="read whole reports where tests failed, and show these tests by name"
    )
    projects: tuple[str, ...] = Field(default=("*",), description="globs of project paths to do so for")
    max_cases: int = Field(
        default=50, ge=0, le=1000, description="tests with series of their own, per project, at most"
    )

    def wanted_of(self, project: str) -> bool:
        """Whether the tests of *project* are shown by name."""
        return self.enabled and any(fnmatchcase(project, glob) for glob in self.projects)


class ReportsConfig(Watched, PolledConfig):
    """Whose reports of tests to read, and what to show of them."""

    settle_seconds: float = Field(
        default=30,
        ge=0,
        le=3600,
        description="how long after a pipeline's end its report is read: GitLab makes it in the background",
    )
    child_pipelines: bool = Field(default=True, description="also the reports of child pipelines")
    refs: ReportedRefs = Field(default_factory=ReportedRefs, description="refs whose newest report is shown")
    max_suites: int = Field(
        default=20, ge=0, le=1000, description="suites of a project told by name; the rest is `other`"
    )
    cases: Cases = Field(default_factory=Cases, description="single tests")
