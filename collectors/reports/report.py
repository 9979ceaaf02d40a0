"""The report of a run, as it is sent; ``report.schema.json`` beside this module is made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

ID_BITS = 52  # every JSON parser reads such an integer as it is

Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
Word = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
Seconds = Annotated[float, Field(ge=0, le=10_000_000)]
Known = Literal["created", "pending", "running", "manual", "success", "failed", "canceled", "skipped"]


class _Part(BaseModel):
    # Unknown keys are left out: a newer reporter must not be silent to an older server.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class JobReport(_Part):
    """One job of the run; one that stands there twice was run again."""

    name: Name = Field(description="the job")
    status: Known = Field(description="where it stands")
    stage: Annotated[str, Field(max_length=255)] = Field(default="", description="the stage it belongs to")
    started_at: AwareDatetime | None = Field(default=None, description="when it started, with an offset")
    finished_at: AwareDatetime | None = Field(
        default=None, description="when it ended; by default when the run did"
    )
    duration_seconds: Seconds | None = Field(default=None, description="how long it ran")
    queue_seconds: Seconds | None = Field(default=None, description="how long it waited for a runner")
    failure_reason: Word | None = Field(default=None, description="why it failed: one word of a few")
    allow_failure: bool = Field(default=False, description="whether the run may succeed without it")


_WITH_NUMBER: JsonDict = {
    "required": ["run_id"],
    "properties": {"run_id": {"type": "integer"}, "key": {"type": "null"}},
}
_WITH_KEY: JsonDict = {
    "required": ["key", "created_at"],
    "properties": {"key": {"type": "string"}, "created_at": {"type": "string"}, "run_id": {"type": "null"}},
}


class Report(_Part):
    """One run of a pipeline as it is now: what is sent as JSON to /hooks/generic."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_WITH_NUMBER, _WITH_KEY]})

    project: Name = Field(description="the project, such as team/app")
    status: Known = Field(description="where the run stands")
    run_id: Annotated[int, Field(ge=0, lt=2**ID_BITS)] | None = Field(
        default=None, description="number of the run, greater than those of the runs before it"
    )
    key: Name | None = Field(
        default=None,
        description="instead of run_id: any text that tells the run from all others that were created"
        " with it; each report of the run must then give the same created_at",
    )
    pipeline: Annotated[str, Field(max_length=255)] = Field(
        default="", description="name of the pipeline, if the project has several"
    )
    ref: Annotated[str, Field(max_length=255)] = Field(default="", description="branch, tag or change")
    ref_kind: Literal["branch", "tag", "change_request"] = Field(
        default="branch", description="what sort of ref it is"
    )
    source: Word = Field(default="unknown", description="what started it: push, schedule, web, …")
    created_at: AwareDatetime | None = Field(
        default=None, description="when it was created, with an offset from UTC"
    )
    started_at: AwareDatetime | None = Field(default=None, description="when it started")
    finished_at: AwareDatetime | None = Field(
        default=None,
        description="when it ended, which tells its executions; without it, one for each start is counted",
    )
    duration_seconds: Seconds | None = Field(default=None, description="how long it ran")
    queue_seconds: Seconds | None = Field(default=None, description="how long it waited for its start")
    coverage_ratio: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="test coverage, 0 to 1"
    )
    username: Annotated[str, Field(max_length=255)] | None = Field(default=None, description="who started it")
    web_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = Field(
        default=None, description="its page"
    )
    sha: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{7,64}$")] | None = Field(
        default=None, description="the commit that it is for"
    )
    commit_title: Annotated[str, Field(max_length=255)] | None = Field(
        default=None, description="first line of the commit"
    )
    jobs: Annotated[tuple[JobReport, ...], Field(max_length=1000)] = Field(
        default=(), description="its jobs, if each is to be counted"
    )

    @model_validator(mode="after")
    def _is_one_run(self) -> Self:
        if (self.run_id is None) == (self.key is None):
            raise ValueError("give run_id, or key and created_at")
        if self.key is not None and self.created_at is None:
            raise ValueError("a run with a key needs created_at")
        return self


def schema() -> dict[str, Any]:
    """The JSON schema of reports, as it is shipped beside this module."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema()}
