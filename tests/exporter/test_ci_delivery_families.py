"""The families of deployments and change requests: records in, exposition text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from exporter import ci_delivery_families as families
from exporter.exposition import Exposition
from exporter.families import Family, Sample
from exporter.model.delivery import Behind, Change, ChangeState, Commit, Deployment, Standing, Tier
from exporter.model.runs import Status
from exporter.model.views import Total, UnitView
from exporter.rendering import Format
from tests.support.promtool import check_metrics

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINISHED = datetime(2026, 3, 1, 12, 5, 0, 250_000, tzinfo=UTC)
COMMITTED = datetime(2026, 3, 1, 11, tzinfo=UTC)
DONE = Deployment(1, "production", Status.SUCCESS, Commit("a", COMMITTED), CREATED, FINISHED, FINISHED, 200.5)
WHERE = 'environment="production",project="group/app",provider="gitlab"'


def shown(samples: Mapping[Family, Sequence[Sample]], lint: str = "") -> list[str]:
    """The sample lines of *samples*; *lint* is what promtool may say."""
    exposition = Exposition()
    every = families.DEPLOYMENT_FAMILIES + families.CHANGE_FAMILIES
    exposition.page("gitlab", every).swap("1", samples)
    exposition.show(["gitlab"])
    text = b"".join(exposition.gather(Format.TEXT, gzip=False).pieces)
    assert [line for line in check_metrics(text).splitlines() if lint not in line or not lint] == []
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


def deployed(**standings: Standing) -> list[str]:
    return shown(families.deployment_samples("gitlab", "group/app", standings))


def view(*totals: Total) -> UnitView:
    return UnitView(1, "42", "group/app", "main", 1, (), (), totals, {})


def test_an_environment_with_everything() -> None:
    standing = Standing(Tier.PRODUCTION, 1, DONE, DONE, Behind(3, 120.0))
    assert deployed(production=standing) == [
        f'ci_deployment_environment_info{{{WHERE},tier="production"}} 1.0',
        f"ci_deployment_environments{{{WHERE}}} 1.0",
        f'ci_deployment_status{{{WHERE},status="success"}} 1.0',
        f"ci_deployment_last_created_timestamp_seconds{{{WHERE}}} 1.7723664e+09",
        f"ci_deployment_last_finished_timestamp_seconds{{{WHERE}}} 1.77236670025e+09",
        f"ci_deployment_last_duration_seconds{{{WHERE}}} 300.25",
        f"ci_deployment_last_job_duration_seconds{{{WHERE}}} 200.5",
        f"ci_deployment_behind_commits{{{WHERE}}} 3.0",
        f"ci_deployment_behind_seconds{{{WHERE}}} 120.0",
    ]


def test_what_is_unknown_is_left_out() -> None:
    running = Deployment(2, "production", Status.RUNNING, Commit("a"), CREATED, CREATED)
    assert deployed(production=Standing(Tier.UNKNOWN, 2, running, None, Behind(3))) == [
        f'ci_deployment_environment_info{{{WHERE},tier="unknown"}} 1.0',
        f"ci_deployment_environments{{{WHERE}}} 2.0",
        f'ci_deployment_status{{{WHERE},status="running"}} 1.0',
        f"ci_deployment_last_created_timestamp_seconds{{{WHERE}}} 1.7723664e+09",
        f"ci_deployment_behind_commits{{{WHERE}}} 3.0",
    ]


def test_open_change_requests() -> None:
    opened = [(ChangeState.OPEN, FINISHED), (ChangeState.OPEN, CREATED)]
    project = 'project="group/app",provider="gitlab"'
    # The name is OpenTelemetry's; promtool would keep _count for histograms.
    assert shown(families.change_samples("gitlab", "group/app", opened), "vcs_changes") == [
        f'vcs_changes{{{project},state="open"}} 2.0',
        f'vcs_changes{{{project},state="wip"}} 0.0',
        f'vcs_change_oldest_timestamp_seconds{{{project},state="open"}} 1.7723664e+09',
    ]


def test_a_counter_shows_every_way_to_end() -> None:
    total = Total("ci_deployment_finished", ("staging", "failed"), 2.0)
    labels = 'project="group/app",provider="gitlab"'
    assert shown(families.total_samples("gitlab", view(total))) == [
        f'ci_deployment_finished_total{{{labels},status="canceled",tier="staging"}} 0.0',
        f'ci_deployment_finished_total{{{labels},status="failed",tier="staging"}} 2.0',
        f'ci_deployment_finished_total{{{labels},status="success",tier="staging"}} 0.0',
    ]


def test_a_histogram_is_shown_with_what_was_observed() -> None:
    lines = shown(
        families.total_samples(
            "gitlab", view(Total("vcs_change_time_to_merge_seconds", (), 400.0, {300.0: 1, 600.0: 1}))
        )
    )
    assert lines[-2:] == [
        'vcs_change_time_to_merge_seconds_count{project="group/app",provider="gitlab"} 2.0',
        'vcs_change_time_to_merge_seconds_sum{project="group/app",provider="gitlab"} 400.0',
    ]


@pytest.mark.parametrize(
    "total",
    [
        Total("ci_pipeline_runs", ("a", "b"), 1.0),
        Total("ci_deployment_finished", ("staging",), 1.0),
        Total("ci_deployment_finished", ("staging", "failed"), 1.0, {1.0: 1}),
        Total("vcs_change_time_to_merge_seconds", (), 1.0),
    ],
)
def test_what_another_version_counted_is_not_shown(total: Total) -> None:
    assert families.total_samples("gitlab", view(total)) == {}


def test_lead_time_is_that_of_what_succeeded() -> None:
    assert DONE.lead_seconds == 3900.25
    failed = Deployment(1, "p", Status.FAILED, Commit("a", COMMITTED), CREATED, FINISHED, FINISHED)
    assert failed.lead_seconds is None


def test_a_change_request_ends_by_merge_or_closing() -> None:
    def ended(state: ChangeState) -> datetime | None:
        return Change(1, state, "ada", CREATED, FINISHED, FINISHED, COMMITTED).ended_at

    assert ended(ChangeState.MERGED) == FINISHED
    assert ended(ChangeState.CLOSED) == COMMITTED
    assert ended(ChangeState.OPEN) is None


@pytest.mark.parametrize(
    ("word", "tier"), [("staging", Tier.STAGING), ("moon", Tier.UNKNOWN), ("", Tier.UNKNOWN)]
)
def test_tiers(word: str, tier: Tier) -> None:
    assert families.tier_of(word) is tier
