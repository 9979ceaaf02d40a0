"""The families of CI collectors: what the store has of a unit in, exposition text out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from exporter import ci_families
from exporter.ci_families import FAMILIES, RunOptions, unit_samples
from exporter.exposition import Exposition
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.model.views import ActiveRuns, Total, UnitView
from exporter.rendering import Format
from tests.support.promtool import check_metrics

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
FINISHED = datetime(2026, 3, 1, 12, 5, 0, 250_000, tzinfo=UTC)
RUN = PipelineRun(
    run_id=7,
    ref="main",
    ref_kind=RefKind.BRANCH,
    source="push",
    status=Status.SUCCESS,
    created_at=CREATED,
    updated_at=FINISHED,
    started_at=STARTED,
    finished_at=FINISHED,
    duration_seconds=270.25,
    queue_seconds=30.0,
    coverage_ratio=0.875,
)
WAITING = PipelineRun(
    run_id=8,
    ref="v1",
    ref_kind=RefKind.TAG,
    source="web",
    status=Status.PENDING,
    created_at=CREATED,
    updated_at=CREATED,
)
EMPTY = UnitView(1, "42", "group/app", "main", 1, (), (), (), {})
GITLAB = RunOptions("gitlab")


def shown(view: UnitView, options: RunOptions = GITLAB, *, promtool: bool = False) -> list[str]:
    """The sample lines of *view*."""
    exposition = Exposition()
    exposition.page("gitlab", FAMILIES).swap("1", unit_samples(view, options))
    exposition.show(["gitlab"])
    text = b"".join(exposition.gather(Format.TEXT, gzip=False).pieces)
    if promtool:
        assert check_metrics(text) == ""
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


INFO = 'ci_project_info{default_branch="main",project="group/app",provider="gitlab"} 1.0'
MAIN = 'pipeline="",project="group/app",provider="gitlab",ref="main",ref_kind="branch",source="push"'
V1 = 'pipeline="",project="group/app",provider="gitlab",ref="v1",ref_kind="tag",source="web"'


def test_the_newest_run_of_each_ref_is_shown_and_what_is_unknown_is_absent() -> None:
    assert shown(replace(EMPTY, latest=(WAITING, RUN)), promtool=True) == [
        INFO,
        f'ci_pipeline_status{{{MAIN},status="success"}} 1.0',
        f'ci_pipeline_status{{{V1},status="pending"}} 1.0',
        f"ci_pipeline_last_run_id{{{MAIN}}} 7.0",
        f"ci_pipeline_last_run_id{{{V1}}} 8.0",
        f"ci_pipeline_last_duration_seconds{{{MAIN}}} 270.25",
        f"ci_pipeline_last_queue_duration_seconds{{{MAIN}}} 30.0",
        f"ci_pipeline_last_created_timestamp_seconds{{{MAIN}}} 1.7723664e+09",
        f"ci_pipeline_last_created_timestamp_seconds{{{V1}}} 1.7723664e+09",
        f"ci_pipeline_last_finished_timestamp_seconds{{{MAIN}}} 1.77236670025e+09",
        f"ci_pipeline_last_coverage_ratio{{{MAIN}}} 0.875",
    ]


def test_known_zeros_are_shown() -> None:
    run = replace(RUN, duration_seconds=0.0, queue_seconds=0.0, coverage_ratio=0.0)
    lines = shown(replace(EMPTY, latest=(run,)))
    for name in ("duration_seconds", "queue_duration_seconds", "coverage_ratio"):
        assert f"ci_pipeline_last_{name}{{{MAIN}}} 0.0" in lines


def test_dense_adds_the_zeros_of_all_other_statuses() -> None:
    lines = shown(replace(EMPTY, latest=(RUN,)), RunOptions("gitlab", dense=True))
    assert [line for line in lines if "pipeline_status" in line] == [
        f'ci_pipeline_status{{{MAIN},status="{status}"}} {float(status is Status.SUCCESS)}'
        for status in Status
    ]


def test_sources_of_one_ref_are_series_of_their_own() -> None:
    nightly = replace(RUN, run_id=9, source="schedule", status=Status.FAILED)
    lines = shown(replace(EMPTY, latest=(nightly, RUN)))
    assert [line.partition("source=")[2] for line in lines if "pipeline_status" in line] == [
        '"push",status="success"} 1.0',
        '"schedule",status="failed"} 1.0',
    ]


def test_unfinished_runs_are_counted_by_status() -> None:
    active = (ActiveRuns(Status.RUNNING, 2, STARTED), ActiveRuns(Status.PENDING, 1, CREATED))
    where = 'project="group/app",provider="gitlab"'
    assert shown(replace(EMPTY, active=active)) == [
        INFO,
        f'ci_pipeline_runs_active{{{where},status="pending"}} 1.0',
        f'ci_pipeline_runs_active{{{where},status="running"}} 2.0',
        f'ci_pipeline_oldest_active_timestamp_seconds{{{where},status="pending"}} 1.7723664e+09',
        f'ci_pipeline_oldest_active_timestamp_seconds{{{where},status="running"}} 1.77236643e+09',
    ]


def test_finished_statuses_of_a_pipeline_are_there_from_its_first_run_on() -> None:
    totals = (
        Total("ci_pipeline_runs", ("", "branch", "push", "failed"), 3.0),
        Total("ci_pipeline_runs", ("", "branch", "api", "success"), 1.0),
    )
    where = 'pipeline="",project="group/app",provider="gitlab",ref_kind="branch"'
    assert shown(replace(EMPTY, totals=totals))[1:] == [
        f'ci_pipeline_runs_total{{{where},source="{source}",status="{status}"}} {number}'
        for source, status, number in (
            ("api", "canceled", 0.0),
            ("api", "failed", 0.0),
            ("api", "skipped", 0.0),
            ("api", "success", 1.0),
            ("push", "canceled", 0.0),
            ("push", "failed", 3.0),
            ("push", "skipped", 0.0),
            ("push", "success", 0.0),
        )
    ]


def test_histograms_come_from_persisted_observations() -> None:
    observed = {1.0: 1, 60.0: 2, float("inf"): 1}
    total = Total("ci_job_run_queue_duration_seconds", ("test", "unit"), 5000.5, observed)
    where = 'project="group/app",provider="gitlab",stage="test"'
    lines = shown(replace(EMPTY, totals=(total,)))[1:]
    assert lines[0] == f'ci_job_run_queue_duration_seconds_bucket{{job="unit",le="1.0",{where}}} 1.0'
    assert [float(line.rpartition(" ")[2]) for line in lines] == [
        1,
        1,
        1,
        1,
        1,
        3,
        3,
        3,
        3,
        3,
        3,
        4,
        4,
        5000.5,
    ]
    assert lines[-2:] == [
        f'ci_job_run_queue_duration_seconds_count{{job="unit",{where}}} 4.0',
        f'ci_job_run_queue_duration_seconds_sum{{job="unit",{where}}} 5000.5',
    ]


def test_totals_of_jobs_are_shown() -> None:
    totals = (
        Total("ci_job_runs", ("test", "unit", "failed", "script_failure"), 2.0),
        Total("ci_job_retries", ("test", "unit"), 1.0),
    )
    where = 'job="unit",project="group/app",provider="gitlab",stage="test"'
    assert shown(replace(EMPTY, totals=totals))[1:] == [
        'ci_job_runs_total{failure_reason="script_failure",job="unit",project="group/app",provider="gitlab",'
        'stage="test",status="failed"} 2.0',
        f"ci_job_retries_total{{{where}}} 1.0",
    ]


def test_totals_that_another_version_wrote_otherwise_are_left_out() -> None:
    totals = (
        Total("ci_from_the_future", ("a",), 1.0),
        Total("ci_pipeline_status", ("", "main", "branch", "push", "success"), 1.0),
        Total("ci_job_retries", ("test", "unit", "surplus"), 1.0),
        Total("ci_job_retries", ("test",), 1.0),
        Total("ci_job_retries", ("test", "unit"), 1.0, {1.0: 1}),
        Total("ci_job_run_duration_seconds", ("test", "unit"), 1.0),
    )
    assert shown(replace(EMPTY, totals=totals)) == [INFO]


def job(job_id: int, name: str, status: Status, **more: float) -> JobRun:
    return JobRun(job_id, 7, "test", name, status, CREATED, **more)  # type: ignore[arg-type]


def test_job_state_shows_the_job_of_the_newest_run_when_a_ref_has_several_sources() -> None:
    nightly = replace(RUN, run_id=9, source="schedule")
    view = replace(
        EMPTY,
        latest=(nightly, RUN),
        latest_jobs={
            7: (job(70, "unit", Status.SUCCESS), job(71, "lint", Status.RUNNING, queue_seconds=4.0)),
            9: (replace(job(90, "unit", Status.FAILED), duration_seconds=61.5, finished_at=FINISHED),),
        },
    )
    assert not [line for line in shown(view) if line.startswith("ci_job")]
    where = 'project="group/app",provider="gitlab",ref="main",ref_kind="branch",stage="test"'
    lines = shown(view, RunOptions("gitlab", job_state=True), promtool=True)
    assert [line for line in lines if line.startswith("ci_job")] == [
        f'ci_job_status{{job="lint",{where},status="running"}} 1.0',
        f'ci_job_status{{job="unit",{where},status="failed"}} 1.0',
        f'ci_job_last_id{{job="lint",{where}}} 71.0',
        f'ci_job_last_id{{job="unit",{where}}} 90.0',
        f'ci_job_last_duration_seconds{{job="unit",{where}}} 61.5',
        f'ci_job_last_queue_duration_seconds{{job="lint",{where}}} 4.0',
        f'ci_job_last_finished_timestamp_seconds{{job="unit",{where}}} 1.77236670025e+09',
    ]


def test_dense_job_state_has_every_status_of_every_job() -> None:
    view = replace(EMPTY, latest=(RUN,), latest_jobs={7: (job(70, "unit", Status.MANUAL),)})
    lines = shown(view, RunOptions("gitlab", dense=True, job_state=True))
    states = [line for line in lines if line.startswith("ci_job_status")]
    assert len(states) == len(Status)
    assert [line.partition("status=")[2] for line in states if line.endswith(" 1.0")] == ['"manual"} 1.0']


def test_the_order_of_what_the_store_brings_does_not_matter() -> None:
    runs = (RUN, WAITING, replace(RUN, run_id=9, source="schedule"))
    totals = tuple(Total("ci_job_retries", ("s", name), 1.0) for name in "abc")
    there = shown(replace(EMPTY, latest=runs, totals=totals))
    assert there == shown(replace(EMPTY, latest=runs[::-1], totals=totals[::-1]))


def test_every_family_follows_the_naming_rules() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.startswith("ci_")
        assert family.source, family.name
        assert family.help.endswith("."), family.name
        assert family.labels[:2] == ("provider", "project")
    assert ci_families.RUN_DURATION.buckets[0] == 10
    assert ci_families.RUN_DURATION.buckets[-1] == 14400
    assert (ci_families.RUN_QUEUE.buckets[0], ci_families.RUN_QUEUE.buckets[-1]) == (1, 3600)
