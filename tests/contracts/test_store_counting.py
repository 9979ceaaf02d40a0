"""Every finished execution counts exactly once, whatever the order, repetition and overlap of batches."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import ci_families
from exporter.model.runs import Execution, JobRun, PipelineRun, RefKind, Status

EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDS = st.sampled_from([Status.SUCCESS, Status.FAILED, Status.CANCELED])


@dataclass
class History:
    """Batches as a source may serve them, and an independent count of what they show."""

    batches: list[list[PipelineRun | JobRun]] = field(default_factory=list)

    @property
    def items(self) -> list[PipelineRun | JobRun]:
        return [item for batch in self.batches for item in batch]

    @property
    def runs(self) -> Counter[str]:
        return Counter(
            status
            for status in {
                (item.run_id, item.finished_at): item.status.value
                for item in self.items
                if isinstance(item, PipelineRun) and item.complete and item.status.finished
            }.values()
        )

    @property
    def jobs(self) -> int:
        return len({
            (item.job_id, item.finished_at)
            for item in self.items
            if isinstance(item, JobRun) and item.status.finished
        })  # fmt: skip

    @property
    def retries(self) -> int:
        seen = {(item.run_id, item.name, item.job_id) for item in self.items if isinstance(item, JobRun)}
        return len(seen) - len({(run_id, name) for run_id, name, _ in seen})


@st.composite
def sightings(draw: Any, run_id: int) -> list[PipelineRun | JobRun]:
    """All that a source may say of one run while it is executed a few times over."""
    shown: list[PipelineRun | JobRun] = []
    base = PipelineRun(run_id, "main", RefKind.BRANCH, "push", Status.CREATED, START, START)
    clock, job_id = 0, run_id * 1000
    if draw(st.booleans()):
        shown.append(replace(base, status=Status.SKIPPED))
    for _ in range(draw(st.integers(0, 3))):
        started = START + timedelta(seconds=clock + 1)
        clock += draw(st.integers(2, 50))
        ended = START + timedelta(seconds=clock, milliseconds=draw(st.integers(0, 999)))
        status = draw(ENDS)
        running = replace(base, status=Status.RUNNING, started_at=started, updated_at=started)
        finished = replace(running, status=status, finished_at=ended, updated_at=ended, duration_seconds=3.0)
        if status is Status.CANCELED and draw(st.booleans()):
            finished = replace(finished, started_at=None, duration_seconds=None)
        listed = replace(base, status=status, updated_at=ended, complete=False)
        shown += [running, finished, listed]
        for name in ("build", "test"):
            job_id += 1
            job = JobRun(job_id, run_id, "ci", name, Status.RUNNING, started, started_at=started)
            shown += [job, replace(job, status=draw(ENDS), finished_at=ended, duration_seconds=1.5)]
    return shown


@st.composite
def histories(draw: Any) -> History:
    """Sightings of some runs in any order, some of them twice, in batches of any size."""
    shown = [item for run_id in range(1, draw(st.integers(1, 3)) + 1) for item in draw(sightings(run_id))]
    if not shown:
        return History()
    repeated = draw(st.lists(st.sampled_from(shown), max_size=len(shown)))
    order = draw(st.permutations(shown + repeated))
    batches: list[list[PipelineRun | JobRun]] = [[]]
    for item in order:
        batches[-1].append(item)
        if draw(st.integers(0, 3)) == 0:
            batches.append([])
    return History(batches)


def assert_totals(desk: Any, history: History) -> None:
    assert desk.counted() == history.runs
    assert desk.total("ci_job_runs") == history.jobs
    assert desk.total("ci_job_retries") == history.retries


@pytest.mark.no_cover
@EXAMPLES
@given(history=histories())
def test_every_execution_counts_once_in_any_order(new_desk: Any, history: History) -> None:
    desk = new_desk()
    for batch in history.batches:
        desk.save(*batch)
    assert_totals(desk, history)


@pytest.mark.no_cover  # long, through code that smaller tests cover
@EXAMPLES
@given(history=histories(), gone=st.sets(st.integers(1, 3)), when=st.integers(0, 5))
def test_deleting_runs_neither_loses_nor_doubles_an_execution(
    new_desk: Any, history: History, gone: set[int], when: int
) -> None:
    desk = new_desk()
    for number, batch in enumerate(history.batches):
        desk.save(*batch, deleted_runs=tuple(gone) if number == when else ())
    for batch in history.batches:
        desk.save(*batch)
    assert_totals(desk, history)


@pytest.mark.no_cover
@settings(EXAMPLES, max_examples=8)
@given(history=histories())
def test_two_processes_that_save_the_same_batches_at_once_count_once(
    new_desk: Any, open_store: Any, make: Any, history: History
) -> None:
    desk = new_desk()
    other = make.Desk(open_store(), desk.unit)

    def save_all(one: Any) -> None:
        for batch in history.batches:
            one.save(*batch)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(save_all, [desk, other, desk]))
    other.store.close()
    assert_totals(desk, history)


@pytest.mark.no_cover
@settings(EXAMPLES, max_examples=8)
@given(history=histories())
def test_a_process_killed_after_any_batch_goes_on_where_it_was(
    new_desk: Any, open_store: Any, make: Any, history: History
) -> None:
    unit = new_desk().unit
    for number, batch in enumerate(history.batches):
        reopened = make.Desk(open_store(), unit)
        reopened.save(*batch, cursor=str(number))
        assert reopened.store.position(unit).cursor == str(number)
        reopened.store.close()
    assert_totals(make.Desk(open_store(), unit), history)


@pytest.mark.no_cover
@settings(EXAMPLES, max_examples=20)
@given(
    seconds=st.lists(st.floats(0, 40_000) | st.sampled_from(ci_families.RUN_DURATION_BUCKETS), max_size=30)
)
def test_a_histogram_agrees_with_its_observations(new_desk: Any, make: Any, seconds: list[float]) -> None:
    desk = new_desk()
    for run_id, duration in enumerate(seconds):
        desk.save(make.run(run_id, duration_seconds=duration, queue_seconds=None))
    if not seconds:
        assert desk.view.totals == ()
        return
    total = next(t for t in desk.view.totals if t.family == "ci_pipeline_run_duration_seconds")
    shown = ci_families.RUN_DURATION.distribution(total.buckets, total.value)
    for index, bound in enumerate(ci_families.RUN_DURATION_BUCKETS):
        assert sum(shown.counts[: index + 1]) == sum(duration <= bound for duration in seconds)
    assert sum(shown.counts) == len(seconds) == desk.total()
    assert shown.sum == pytest.approx(sum(seconds))


def test_an_answer_that_shows_an_earlier_execution_still_counts_it(desk: Any, make: Any) -> None:
    desk.save(make.run(end=90))
    desk.save(make.run(end=60, status=Status.FAILED))
    assert desk.counted() == {"success": 1, "failed": 1}
    assert desk.view.latest[0].status is Status.SUCCESS


def test_fractions_of_the_finishing_second_are_one_execution(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60.75), make.run(end=60), make.run(end=60.999))
    assert desk.counted() == {"success": 1}


def test_a_run_that_ran_and_lost_its_finishing_time_is_not_another_execution(desk: Any, make: Any) -> None:
    desk.save(make.run())
    desk.save(replace(make.run(updated_at=make.at(70)), finished_at=None))
    assert desk.counted() == {"success": 1}


def test_executions_finished_before_counting_began_are_history(desk: Any, make: Any) -> None:
    saved = desk.save(
        make.run(1, end=-1), make.run(2, end=0), make.job(1, end=-1), make.job(2, end=0, name="b")
    )
    assert (saved.counted_runs, saved.counted_jobs) == (1, 1)
    assert desk.latest == {"main": 2}
    assert desk.total() == 1


def test_a_list_entry_never_counts_and_its_detail_does(desk: Any, make: Any) -> None:
    assert desk.save(make.run(complete=False)).counted_runs == 0
    assert desk.save(make.run()).counted_runs == 1


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (2, 1, 3)])
@pytest.mark.parametrize("together", [True, False])
def test_retried_jobs_count_once_each_whatever_the_order(
    desk: Any, make: Any, order: tuple[int, ...], together: bool
) -> None:
    """The first job is history, its two retries are not."""
    jobs = [make.job(number, created_at=make.at(number - 2), end=60 + number) for number in order]
    for batch in [jobs] if together else [[job] for job in jobs]:
        desk.save(*batch)
    desk.save(*jobs)
    assert desk.total("ci_job_retries") == 2
    assert desk.total("ci_job_runs") == 3


def test_an_earlier_execution_that_a_run_shows_counts_once_too(desk: Any, make: Any) -> None:
    earlier = Execution(Status.FAILED, make.at(30), float("nan"))
    for _ in range(2):
        desk.save(make.run(end=60, earlier=earlier))
    desk.save(make.run(end=30, status=Status.FAILED))
    assert desk.counted() == {"success": 1, "failed": 1}
