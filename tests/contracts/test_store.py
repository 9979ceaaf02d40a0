"""What every store promises, on SQLite and on PostgreSQL: state, refs, units, versions, pruning."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.runs import RefKind, Status

DAY = timedelta(days=1)
REFUSE = {
    "sqlite": ["CREATE TRIGGER refuse BEFORE {} ON {} BEGIN SELECT RAISE(ABORT, 'refused'); END"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$",
        "CREATE TRIGGER refuse BEFORE {} ON {} FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}
TABLES = ("targets", "units", "runs", "latest", "jobs", "totals")


def content(sql: Any) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {table: sorted(map(repr, sql(f"SELECT * FROM {table}"))) for table in TABLES}


def kind_of(store_url: str) -> str:
    return store_url.partition(":")[0]


# -- all or nothing ------------------------------------------------------------------------------


def test_cursor_and_counts_move_together(desk: Any, make: Any) -> None:
    desk.save(make.run(), cursor="next")
    assert desk.store.position(desk.unit).cursor == "next"
    assert desk.total() == 1


def test_a_record_that_cannot_be_stored_takes_its_whole_batch_along(desk: Any, make: Any, sql: Any) -> None:
    before = content(sql)
    with pytest.raises(StoreError):
        desk.save(make.run(), make.job(created_at=None, status=Status.RUNNING), cursor="next")
    assert content(sql) == before
    assert desk.save(make.run(), make.job(), cursor="next").counted_runs == 1


@pytest.mark.parametrize("last", ["INSERT totals", "INSERT jobs", "UPDATE units"])
def test_a_database_that_refuses_half_way_leaves_no_trace(
    desk: Any, make: Any, sql: Any, store_url: str, last: str
) -> None:
    before = content(sql)
    for statement in REFUSE[kind_of(store_url)]:
        sql(statement.format(*last.split()))
    with pytest.raises(StoreError, match="refused"):
        desk.save(make.run(), make.job(), cursor="next", deleted_runs=(9,))
    assert content(sql) == before
    sql("DROP TRIGGER refuse" + ("" if kind_of(store_url) == "sqlite" else f" ON {last.split()[1]}"))
    assert desk.save(make.run(), make.job(), cursor="next").counted_jobs == 1


# -- newer state over older ----------------------------------------------------------------------


def test_an_older_answer_never_overwrites_newer_state(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60, coverage_ratio=0.5))
    desk.save(make.run(status=Status.RUNNING, updated_at=make.at(59)))
    assert desk.view.latest == (make.run(end=60, coverage_ratio=0.5),)
    assert desk.view.active == ()


def test_at_an_equal_time_the_lower_status_never_overwrites(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60))
    desk.save(make.run(status=Status.RUNNING, updated_at=make.at(60)))
    assert desk.view.latest[0].status is Status.SUCCESS


def test_a_list_entry_does_not_erase_equally_new_details(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60))
    desk.save(make.run(end=60, complete=False, finished_at=None, duration_seconds=None))
    assert desk.view.latest == (make.run(end=60),)


def test_a_run_that_runs_again_is_active_again(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60))
    desk.save(make.run(status=Status.RUNNING, updated_at=make.at(70)))
    assert [(one.status, one.count) for one in desk.view.active] == [(Status.RUNNING, 1)]


def test_user_and_link_never_get_lost(desk: Any, make: Any) -> None:
    desk.save(make.run(end=60, username="ann", web_url="https://ci/1"))
    desk.save(make.run(end=70))
    desk.save(make.run(end=50, username="eve"))
    (run,) = desk.view.latest
    assert (run.username, run.web_url, run.updated_at) == ("ann", "https://ci/1", make.at(70))


def test_a_finished_job_is_not_unfinished_by_a_late_answer(desk: Any, make: Any) -> None:
    canceled = make.job(1, Status.CANCELED, started_at=None)
    desk.save(make.run(), canceled)
    desk.save(make.job(1, Status.PENDING))
    assert desk.view.latest_jobs == {1: (canceled,)}


def test_a_skipped_job_may_be_started_after_all(desk: Any, make: Any) -> None:
    desk.save(make.run(), make.job(1, Status.SKIPPED, end=None))
    desk.save(make.job(1, Status.RUNNING))
    assert desk.view.latest_jobs[1][0].status is Status.RUNNING
    desk.save(make.job(1))
    assert desk.totals("ci_job_runs") == {
        ("test", "unit", "skipped", ""): 1,
        ("test", "unit", "success", ""): 1,
    }


def test_the_newest_job_of_each_name_is_shown(desk: Any, make: Any) -> None:
    desk.save(make.run(), make.job(2, end=80), make.job(1, Status.FAILED), make.job(3, name="lint"))
    assert {job.job_id for job in desk.view.latest_jobs[1]} == {2, 3}


# -- the newest run of each ref ------------------------------------------------------------------


def test_latest_is_the_newest_run_of_each_pipeline_kind_ref_and_source(desk: Any, make: Any) -> None:
    variants = [{}, {"pipeline": "nightly"}, {"ref_kind": RefKind.TAG}, {"ref": "dev"}, {"source": "web"}]
    runs = [make.run(10 * n + i, **variant) for n, variant in enumerate(variants) for i in (2, 1)]
    desk.save(*runs[::2])
    desk.save(*runs[1::2])
    assert sorted(run.run_id for run in desk.view.latest) == [2, 12, 22, 32, 42]


def test_latest_survives_the_deletion_of_the_newest_run(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2), make.run(3))
    desk.save(deleted_runs=(3,))
    assert desk.latest == {"main": 2}
    desk.save(deleted_runs=(1, 2))
    assert desk.latest == {}


def test_deleted_runs_vanish_with_their_jobs_and_totals_stay(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2, Status.RUNNING), make.job(1, run_id=1), make.job(2, run_id=2))
    assert desk.save(deleted_runs=(1, 2, 99)).changed == 2
    view = desk.view
    assert (view.latest, view.active, view.latest_jobs) == ((), (), {})
    assert (desk.total(), desk.total("ci_job_runs")) == (1, 2)
    assert desk.store.known(desk.unit).unfinished() == []


def test_a_late_answer_does_not_bring_a_deleted_run_back_but_newer_news_does(desk: Any, make: Any) -> None:
    desk.save(make.run(1, Status.RUNNING, updated_at=make.at(5)))
    desk.save(deleted_runs=(1,))
    assert desk.save(make.run(1, Status.RUNNING, updated_at=make.at(5))).changed == 0
    assert desk.latest == {}
    desk.save(make.run(1, end=60))
    assert desk.latest == {"main": 1}
    assert desk.counted() == {"success": 1}


def test_a_run_whose_ref_is_told_differently_later_is_shown_once(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2, Status.RUNNING))
    desk.save(make.run(2, ref="refs/merge-requests/1/head", ref_kind=RefKind.CHANGE_REQUEST))
    assert desk.latest == {"main": 1, "refs/merge-requests/1/head": 2}


def test_refs_that_vanished_are_forgotten(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2, ref="old"), make.run(3, ref="v1", ref_kind=RefKind.TAG))
    desk.save(refs={RefKind.BRANCH: frozenset({"main"})}, refs_read_at=make.at(10))
    assert desk.latest == {"main": 1, "v1": 3}
    assert desk.total() == 3


def test_a_run_created_after_the_list_was_read_keeps_all_of_its_ref(desk: Any, make: Any) -> None:
    desk.save(make.run(1, ref="new"), make.run(2, ref="new", source="web", created_at=make.at(11)))
    desk.save(refs={RefKind.BRANCH: frozenset()}, refs_read_at=make.at(10))
    assert sorted(run.run_id for run in desk.view.latest) == [1, 2]


def test_a_forgotten_ref_that_a_list_proves_to_exist_is_back(desk: Any, make: Any) -> None:
    main = make.run(1, ref="main")
    desk.save(main)
    desk.save(refs={RefKind.BRANCH: frozenset()}, refs_read_at=make.at(100))
    assert desk.latest == {}
    listed = replace(main, complete=False, started_at=None, finished_at=None, duration_seconds=None)
    before = desk.view.version
    desk.save(listed, refs={RefKind.BRANCH: frozenset({"main"})}, refs_read_at=make.at(200))
    assert desk.latest == {"main": 1}
    assert desk.view.version > before
    assert desk.view.latest[0].finished_at == main.finished_at, "what is known of it stays"


def test_a_forgotten_ref_does_not_come_back_with_a_page_served_twice(desk: Any, make: Any) -> None:
    desk.save(make.run(1, ref="old"))
    desk.save(refs={RefKind.BRANCH: frozenset()}, refs_read_at=make.at(10))
    version = desk.view.version
    desk.save(make.run(1, ref="old"))
    assert (desk.latest, desk.view.version) == ({}, version)
    desk.save(make.run(4, ref="old"))
    assert desk.latest == {"old": 4}


def test_unselected_refs_have_no_latest_run_but_count(desk: Any, make: Any) -> None:
    desk.save(make.run(1, selected=False))
    assert (desk.latest, desk.total()) == ({}, 1)


def test_a_ref_that_becomes_selected_or_unselected_later_is_shown_or_not(desk: Any, make: Any) -> None:
    desk.save(make.run(1, selected=False))
    desk.save(make.run(1))
    assert desk.latest == {"main": 1}
    desk.save(make.run(2, selected=False))
    assert desk.latest == {}


# -- units ---------------------------------------------------------------------------------------


def register(store: Any, make: Any, *keys: str, now: float = 0, days: int = 0, **facts: Any) -> list[Any]:
    units = [Unit(key, f"group/{key}", **facts) for key in keys]
    return store.register("gitlab", units, backfill_days=days, now=make.at(now))


def test_units_come_back_in_the_order_they_were_given(store: Any, make: Any) -> None:
    first = register(store, make, "b", "a", "c")
    again = register(store, make, "c", "d", "b", "a", now=5)
    assert [unit.unit.key for unit in first] == ["b", "a", "c"]
    assert [unit.unit.key for unit in again] == ["c", "d", "b", "a"]
    assert {unit.id for unit in first} < {unit.id for unit in again}


def test_registering_again_changes_nothing(store: Any, make: Any, sql: Any) -> None:
    first = register(store, make, "a", "b")
    before = content(sql)
    assert register(store, make, "a", "b", now=1000) == first
    assert content(sql) == before


def test_a_new_unit_counts_from_the_days_of_its_backfill(store: Any, make: Any) -> None:
    (unit,) = register(store, make, "a", days=3)
    assert (unit.counts_from, unit.cursor, unit.caught_up) == (make.START - 3 * DAY, None, False)
    assert register(store, make, "a", now=100, days=9)[0].counts_from == make.START - 3 * DAY


def test_a_unit_created_after_the_target_was_first_seen_counts_from_its_creation(
    store: Any, make: Any
) -> None:
    register(store, make, "a")
    young = register(store, make, "a", "b", now=500, created_at=make.at(200))[1]
    old = register(store, make, "c", now=500, created_at=make.at(-1))[0]
    assert (young.counts_from, old.counts_from) == (make.at(200), make.at(500))


def test_targets_do_not_mix(store: Any, make: Any) -> None:
    one = store.register("one", [Unit("7", "a")], backfill_days=0, now=make.START)[0]
    two = store.register("two", [Unit("7", "b")], backfill_days=0, now=make.START)[0]
    store.save(one.id, Batch(runs=(make.run(),)), make.START)
    store.save(two.id, Batch(), make.START)
    assert store.versions("one").keys() == {one.id}
    assert [len(view.totals) for view in store.views([one.id, two.id])] == [3, 0]


def test_renaming_keeps_totals(desk: Any, make: Any) -> None:
    desk.save(make.run())
    version = desk.view.version
    desk.save(unit=Unit("7", "group/renamed", default_branch="trunk"))
    view = desk.view
    assert (view.name, view.default_branch, desk.total()) == ("group/renamed", "trunk", 1)
    assert view.version > version
    desk.store.register("source-1", [Unit("7", "again")], backfill_days=0, now=make.at(9))
    assert (desk.view.name, desk.total()) == ("again", 1)


def test_units_left_out_vanish_and_come_back_with_their_totals(store: Any, make: Any) -> None:
    unit = register(store, make, "a", "b")[0]
    store.save(unit.id, Batch(runs=(make.run(),)), make.START)
    before = store.versions("gitlab")[unit.id]
    register(store, make, "b")
    assert (store.views([unit.id]), store.versions("gitlab")) == ([], {})
    assert register(store, make, "a", "b")[0].caught_up
    assert store.views([unit.id])[0].totals
    assert store.versions("gitlab")[unit.id] > before


def test_a_unit_is_shown_after_the_first_batch_without_more(store: Any, make: Any) -> None:
    (unit,) = register(store, make, "a")
    store.save(unit.id, Batch(runs=(make.run(1),), cursor="1", more=True), make.START)
    assert (store.views([unit.id]), store.position(unit.id).caught_up) == ([], False)
    store.save(unit.id, Batch(cursor="1"), make.START)
    assert (len(store.views([unit.id])), store.position(unit.id).caught_up) == (1, True)
    store.save(unit.id, Batch(runs=(make.run(2),), more=True), make.START)
    assert store.position(unit.id).caught_up


def test_a_unit_that_is_gone_is_an_error_in_words(store: Any, make: Any) -> None:
    for ask in (store.position, lambda unit: store.save(unit, Batch(), make.START)):
        with pytest.raises(StoreError, match="unit 99 is gone"):
            ask(99)


# -- versions and idle polls ---------------------------------------------------------------------


def test_the_version_grows_with_whatever_is_shown(desk: Any, make: Any) -> None:
    changes: list[dict[str, Any]] = [
        dict(items=[make.run(1, Status.PENDING, updated_at=make.at(1))]),
        dict(items=[make.run(1, Status.RUNNING, updated_at=make.at(2))]),
        dict(items=[make.run(1)]),
        dict(items=[make.job(1)]),
        dict(items=[make.run(2, ref="dev")]),
        dict(deleted_runs=(2,)),
        dict(refs={RefKind.BRANCH: frozenset()}, refs_read_at=make.at(9)),
        dict(unit=Unit("7", "renamed")),
    ]
    for change in changes:
        before = desk.view
        desk.save(*change.pop("items", ()), **change)
        assert desk.view.version > before.version
        assert replace(desk.view, version=0) != replace(before, version=0)


def test_polls_that_bring_nothing_new_write_nothing(desk: Any, make: Any, sql: Any, store_url: str) -> None:
    batch = dict(
        cursor="1",
        refs={RefKind.BRANCH: frozenset({"main"})},
        refs_read_at=make.at(10),
        unit=Unit("7", "group/project-7", default_branch="main"),
        deleted_runs=(99,),
    )
    items = [
        make.run(1),
        make.run(2, selected=False, ref="x"),
        make.job(1),
        make.job(2, Status.RUNNING, run_id=2),
    ]
    desk.save(*items, **batch)
    # PostgreSQL: which transaction wrote each row version, and where it lies.
    seen = "*" if kind_of(store_url) == "sqlite" else "xmin::text, ctid::text, *"

    def state() -> Any:
        return [sql(f"SELECT {seen} FROM {table}") for table in TABLES]

    before = state()
    saved = [desk.save(), desk.save(cursor="1"), desk.save(*items, **batch)]
    assert [one.changed for one in saved] == [0, 0, 0]
    assert state() == before


# -- what a collector asks -----------------------------------------------------------------------


def test_known_tells_which_runs_need_no_further_detail(desk: Any, make: Any) -> None:
    desk.save(
        make.run(1, end=10),
        make.run(2, complete=False),
        make.run(3, Status.RUNNING, complete=False, updated_at=make.at(3)),
    )
    known = desk.store.known(desk.unit)
    assert known.updated_at([1, 2, 3, 4, 2**70]) == {1: make.at(10), 3: make.at(3)}


def test_known_tells_unfinished_runs_oldest_first(desk: Any, make: Any) -> None:
    runs = [make.run(n, status) for n, status in enumerate(Status, 1)]
    desk.save(*reversed(runs))
    assert [run.run_id for run in desk.store.known(desk.unit).unfinished()] == [1, 2, 3, 4, 9]


def test_known_tells_the_newest_incomplete_runs_of_refs(desk: Any, make: Any) -> None:
    desk.save(*(make.run(n, ref=f"r{n % 5}", complete=n % 2 == 0) for n in range(1, 21)))
    assert [run.run_id for run in desk.store.known(desk.unit).incomplete(2)] == [19, 17]


# -- pruning -------------------------------------------------------------------------------------


def test_pruning_deletes_old_runs_with_their_jobs_and_keeps_totals(desk: Any, make: Any, sql: Any) -> None:
    old = [make.run(1), make.run(2), make.job(1, run_id=1), make.job(2, run_id=2)]
    desk.save(*old, make.run(3), make.run(4, Status.RUNNING, ref="stuck"), make.run(5, end=5000))
    version = desk.view.version
    assert desk.store.prune(make.at(1000)) == 3
    assert sql("SELECT run_id FROM runs ORDER BY run_id") == [(4,), (5,)]
    assert sql("SELECT job_id FROM jobs") == []
    assert (desk.total(), desk.total("ci_job_runs"), desk.view.version) == (4, 2, version)


def test_pruning_keeps_the_newest_run_of_each_ref_however_old(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2), make.run(3, ref="quiet"))
    assert desk.store.prune(make.at(10**8)) == 1
    assert desk.latest == {"main": 2, "quiet": 3}


def test_what_was_pruned_never_counts_again(desk: Any, make: Any, open_store: Any) -> None:
    items = [
        make.run(1),
        make.job(1),
        make.job(2),
        make.run(2, Status.SKIPPED, None, ref="x"),
        make.run(9, end=5000),
    ]
    desk.save(*items)
    desk.save(deleted_runs=(2,))
    before = desk.view.totals
    desk.store.prune(make.at(1000))
    desk.save(*items)
    other = make.Desk(open_store(), desk.unit)
    other.save(*items)
    assert other.view.totals == before


def test_a_run_that_something_finished_in_after_the_limit_is_not_pruned_yet(desk: Any, make: Any) -> None:
    late = [
        make.run(1, end=60),
        make.job(1, end=2000),
        make.run(2, end=3000, updated_at=make.at(60), ref="x"),
    ]
    desk.save(*late, make.run(3, end=5000), make.run(4, end=5000, ref="x"))
    before = desk.view.totals
    assert desk.store.prune(make.at(1000)) == 0
    desk.save(*late)
    assert desk.view.totals == before


def test_a_pruned_run_that_is_retried_counts_its_new_execution(desk: Any, make: Any) -> None:
    desk.save(make.run(1), make.run(2, end=5000))
    desk.store.prune(make.at(1000))
    desk.save(make.run(1, end=6000))
    assert desk.total() == 3


@pytest.mark.no_cover
def test_pruning_takes_more_runs_than_fit_into_one_transaction(desk: Any, make: Any) -> None:
    desk.save(*(make.run(n) for n in range(4100)))
    assert desk.store.prune(make.at(1000)) == 4099
    assert desk.store.prune(make.at(1000)) == 0


# -- odd values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'quo"te\\back',
        "it's",
        "🦊 émoji",
        "NUL\0NUL",
        "lone\ud800",
        "\x01\x1f",
        "tab\tline\n",
        "",
        "[]",
        "%s :x",
        "x" * 9000,
    ],
    ids=ascii,
)
def test_odd_text_is_saved_and_counted_once(desk: Any, make: Any, text: str) -> None:
    run = make.run(1, ref=text, source=text, pipeline=text, username=text, web_url=text)
    job = make.job(1, name=text, stage=text, failure_reason=text, status=Status.FAILED)
    for _ in range(2):
        desk.save(run, job, cursor=text, unit=Unit("7", text, default_branch=text))
        desk.save(refs={RefKind.BRANCH: frozenset({text})}, refs_read_at=make.at(100))
    (shown,) = desk.view.latest
    if (text.isprintable() and len(text) < 100) or text == "tab\tline\n":
        assert (shown.ref, desk.view.name, desk.store.position(desk.unit).cursor) == (text, text, text)
        assert desk.view.latest_jobs[1][0].name == text
    assert (desk.total(), desk.total("ci_job_runs")) == (1, 1)
    (unit,) = desk.store.register("source-1", [Unit(text, text)], backfill_days=0, now=make.START)
    assert desk.store.register("source-1", [Unit(text, text)], backfill_days=0, now=make.START) == [unit]


def test_the_longest_labels_fit_into_every_index(desk: Any, make: Any) -> None:
    """Nothing that compresses: an index entry of PostgreSQL holds 2,704 bytes."""
    odd = "".join(chr(0x1F300 + (n * n * 7919) % 700) + '"\\'[n * n % 7 % 2] for n in range(2000))
    desk.save(
        make.run(1, ref=odd, source=odd[1:], pipeline=odd[2:]),
        make.job(1, name=odd, stage=odd[3:], failure_reason=odd[4:], status=Status.FAILED),
        make.job(2, name=odd + "!", stage=odd[3:]),
    )
    assert (desk.total(), len(desk.totals("ci_job_runs"))) == (1, 2)


def test_the_largest_ids_are_kept_and_larger_ones_do_not_block_a_batch(desk: Any, make: Any) -> None:
    largest = 2**63 - 1
    desk.save(
        make.run(largest), make.run(2**63, ref="x"), make.job(largest), make.job(2**64), deleted_runs=(2**65,)
    )
    assert desk.latest == {"main": largest}
    assert (desk.total(), desk.total("ci_job_runs")) == (1, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0, 10**400], ids=str)
def test_what_is_no_amount_is_unknown(desk: Any, make: Any, value: float) -> None:
    odd = dict(duration_seconds=value, queue_seconds=value)
    desk.save(make.run(1, coverage_ratio=value, **odd), make.job(1, **odd))
    (run,) = desk.view.latest
    assert (run.duration_seconds, run.queue_seconds, run.coverage_ratio) == (None, None, None)
    assert {total.family for total in desk.view.totals} == {"ci_pipeline_runs", "ci_job_runs"}


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_batches_and_views_of_any_size_fit(store: Any, make: Any) -> None:
    units = register(store, make, *(f"u{n}" for n in range(700)))
    for unit in units:
        store.save(unit.id, Batch(), make.START)
    desk = make.Desk(store, units[-1].id)
    desk.save(*(make.run(n, ref=f"r{n}") for n in range(700)), *(make.job(n, run_id=n) for n in range(700)))
    assert len(store.views([unit.id for unit in units])) == 700
    assert len(desk.latest) == 700
    assert len(register(store, make, "u1")) == 1
