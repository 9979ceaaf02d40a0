"""GitLab's JSON of environments and deployments, as documented and as recorded from real instances."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collectors.gitlab.deployments import mapping
from exporter.errors import BadAnswer
from exporter.model.delivery import Commit, Deployment, Tier
from exporter.model.runs import Status

FIXTURES = Path(__file__).parent.parent / "fixtures"


def recorded(**changed: Any) -> dict[str, Any]:
    """A recorded deployment with what later versions say as well."""
    entry: dict[str, Any] = json.loads((FIXTURES / "deployment.json").read_text())
    return entry | {"status": "success", "updated_at": "2016-08-11T11:34:01.123Z"} | changed


def read(value: Any, unknown: Any = lambda kind: pytest.fail(kind)) -> Deployment:
    return mapping.deployment(value, unknown=unknown)


def test_a_recorded_deployment() -> None:
    assert read(recorded()) == Deployment(
        deployment_id=42,
        environment="production",
        status=Status.SUCCESS,
        commit=Commit(
            "a91957a858320c0e17f3a0eca7cfacbff50ea29a", datetime(2016, 8, 11, 11, 28, 26, tzinfo=UTC)
        ),
        created_at=datetime(2016, 8, 11, 11, 32, 35, 444000, tzinfo=UTC),
        updated_at=datetime(2016, 8, 11, 11, 34, 1, 123000, tzinfo=UTC),
        finished_at=datetime(2016, 8, 11, 11, 32, 35, 145000, tzinfo=UTC),
        job_seconds=None,
    )


def test_clocks_that_differ_make_no_negative_time() -> None:
    found = read(recorded())
    assert found.duration_seconds == 0
    assert found.lead_seconds == pytest.approx(249.145)


@pytest.mark.parametrize("job", [None, {}, {"commit": None, "finished_at": None}])
def test_without_a_job_it_ended_when_it_changed_last(job: object) -> None:
    found = read(recorded(deployable=job))
    assert found.finished_at == found.updated_at
    assert found.commit.committed_at is None
    assert found.lead_seconds is None
    assert found.job_seconds is None


def test_the_job_tells_how_long_it_ran() -> None:
    job = {"started_at": "2016-08-11T11:32:00Z", "finished_at": "2016-08-11T11:32:30Z"}
    assert read(recorded(deployable=job)).job_seconds == 30
    assert read(recorded(deployable={**job, "duration": 29.5})).job_seconds == 29.5


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", Status.CREATED),
        ("running", Status.RUNNING),
        ("blocked", Status.MANUAL),
        ("skipped", Status.SKIPPED),
    ],
)
def test_what_has_not_ended_has_no_end(word: str, status: Status) -> None:
    found = read(recorded(status=word))
    assert (found.status, found.finished_at, found.job_seconds) == (status, None, None)


def test_an_unknown_status_is_told() -> None:
    told: list[str] = []
    assert read(recorded(status="melted"), told.append).status is Status.UNKNOWN
    assert told == ["deployment_status"]


@pytest.mark.parametrize(
    "changed", [{"id": "42"}, {"environment": None}, {"sha": None}, {"updated_at": None}, {"status": 1}]
)
def test_what_lacks_what_matters_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        read(recorded(**changed))


def test_recorded_environments_have_no_tier() -> None:
    entries = json.loads((FIXTURES / "environments.json").read_text())
    assert [mapping.environment(entry) for entry in entries] == [
        mapping.Environment(1, "review/fix-foo", Tier.UNKNOWN),
        mapping.Environment(12, "review/fix-bar", Tier.UNKNOWN),
    ]
    assert mapping.environment(entries[0] | {"tier": "staging"}).tier is Tier.STAGING
    assert mapping.environment(entries[0] | {"tier": "moon"}).tier is Tier.UNKNOWN


@pytest.mark.parametrize("value", [None, {}, {"commits": None}, {"commits": {}}])
def test_a_comparison_without_commits_is_refused(value: object) -> None:
    with pytest.raises(BadAnswer):
        mapping.commits_between(value)
