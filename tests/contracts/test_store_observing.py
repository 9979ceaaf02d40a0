"""What every store promises of events: each adds to its total once, however often and wherever it is seen."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contract import Batch, Observation, Unit
from exporter.errors import StoreError
from exporter.families import Labels, foreign
from exporter.store import migrating
from exporter.store.connect import open_engine
from exporter.store.sql import SqlStore
from exporter.store.tables import VERSION_TABLE
from tests.contracts.test_store import REFUSE, content, kind_of

HEAD = ScriptDirectory(str(migrating._MIGRATIONS)).get_current_head()
MERGED = foreign("pr_merged_total", "counter", "Merged.", ("team", "repo"))
BARE = foreign("pr_opened", "counter", "Opened.", ("team",))
WAIT = foreign("pr_wait_seconds", "histogram", "Wait.", ("team",), buckets=(1, 10))
DAY = 86_400.0
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def store_url(empty_url: str) -> str:
    """Here, stores are made from nothing."""
    return empty_url


def event(key: str, amount: float = 1.0, labels: Labels = ("a", "x"), family: Any = MERGED) -> Observation:
    return Observation(family, labels, amount, key)


def observe(desk: Any, *events: Observation, **batch: Any) -> Any:
    return desk.save(observations=events, **batch)


def remembered(sql: Any) -> int:
    return int(sql("SELECT count(*) FROM observed")[0][0])


# -- once ----------------------------------------------------------------------------------------


def test_an_event_counts_once_however_often_it_is_seen(desk: Any, open_store: Any, make: Any) -> None:
    other = make.Desk(open_store(), desk.unit)
    assert observe(desk, event("1"), event("2", 5), event("1")).changed == 2
    version = desk.view.version
    for one in (desk, other, make.Desk(open_store(), desk.unit)):
        assert observe(one, event("2", 5), event("1"), cursor="same") == desk.save(cursor="same")
    assert desk.totals("pr_merged") == {("a", "x"): 6}
    assert desk.view.version == version, "nothing new: others need not look"
    assert observe(other, event("1"), event("3", 2, ("b", "x"))).changed == 1
    assert desk.totals("pr_merged") == {("a", "x"): 6, ("b", "x"): 2}
    assert desk.view.version == version + 1


def test_events_differ_by_family_key_and_unit_and_not_by_labels_or_amount(new_desk: Any) -> None:
    one, two = new_desk("7"), new_desk("8")
    observe(one, event("1"), event("1", family=BARE, labels=("a",)), event("1", 9, ("late", "x")))
    observe(two, event("1", 3))
    assert one.totals("pr_merged") == {("a", "x"): 1}
    assert one.totals("pr_opened") == {("a",): 1}
    assert two.totals("pr_merged") == {("a", "x"): 3}


@pytest.mark.parametrize("keys", [("", "\0"), ("\ud800", "\udfff"), ("?", "\ud800"), ("é", "e\u0301")])
def test_keys_that_hardly_differ_are_two_events(desk: Any, keys: tuple[str, str]) -> None:
    for _ in range(2):
        observe(desk, *map(event, keys))
    assert desk.total("pr_merged") == 2


def test_a_key_of_any_length_takes_the_same_room(desk: Any, sql: Any) -> None:
    observe(desk, event("x" * 10**6), event("x" * 10**6 + "y"))
    assert [len(bytes(digest)) for (digest,) in sql("SELECT digest FROM observed")] == [16, 16]


def test_events_and_the_cursor_move_together(desk: Any) -> None:
    observe(desk, event("1"), cursor="next")
    assert desk.store.position(desk.unit).cursor == "next"
    assert desk.total("pr_merged") == 1


def test_events_of_history_that_is_not_complete_are_counted_and_not_yet_shown(store: Any, make: Any) -> None:
    stored = store.register("fresh", [Unit("1", "one")], backfill_days=0, now=make.START)[0]
    desk = make.Desk(store, stored.id)
    observe(desk, event("1"), more=True)
    assert store.views([stored.id]) == []
    observe(desk, event("1"), event("2"))
    assert desk.total("pr_merged") == 2


def test_an_event_is_remembered_as_long_as_it_is_asked_for_and_takes_no_room_after(
    desk: Any, sql: Any, make: Any
) -> None:
    until = make.at(100 * DAY)
    short = [event(str(n))._replace(remember_until=until) for n in range(50)]
    for _ in range(2):
        observe(desk, *short, event("for ever"))
    assert (desk.total("pr_merged"), remembered(sql)) == (51, 1)
    assert desk.store.outbox.forget(until - timedelta(hours=1)) == 0
    assert observe(desk, *short).changed == 0
    assert desk.store.outbox.forget(until + timedelta(hours=1)) == 50
    assert sql("SELECT count(*) FROM told")[0][0] == 0
    assert observe(desk, event("for ever")).changed == 0


def test_what_an_older_version_remembered_for_ever_is_not_counted_again(desk: Any, make: Any) -> None:
    observe(desk, event("1"))
    assert observe(desk, event("1")._replace(remember_until=make.at(DAY))).changed == 0


def test_events_of_two_units_that_are_remembered_for_a_time_are_not_mixed_up(store: Any, make: Any) -> None:
    stored = store.register("both", [Unit("1", "one"), Unit("2", "two")], backfill_days=0, now=make.START)
    desks = [make.Desk(store, one.id) for one in stored]
    for desk in desks:
        assert observe(desk, event("1")._replace(remember_until=make.at(DAY))).changed == 1


# -- totals --------------------------------------------------------------------------------------


def test_histograms_have_every_value_in_its_bucket_and_in_the_sum(desk: Any) -> None:
    seconds = [0.5, 1, 1.5, 10, 11, 1e9, -2, 0]
    for start in (0, 3, 0):
        batch = [event(str(n), value, ("a",), WAIT) for n, value in enumerate(seconds)][start : start + 5]
        observe(desk, *batch)
    (total,) = desk.view.totals
    assert WAIT.distribution(total.buckets, total.value).counts == (4, 2, 2)
    assert total.value == sum(seconds)


def test_labels_that_are_left_out_are_a_series_of_their_own(desk: Any) -> None:
    labels: list[Labels] = [(None, "x"), ("", "x"), ("None", "x"), ("null", "x"), (None, None)]
    for _ in range(2):
        observe(desk, *[event(str(number), 1 + number, one) for number, one in enumerate(labels)])
    assert desk.totals("pr_merged") == {one: 1 + number for number, one in enumerate(labels)}


@pytest.mark.parametrize("number", [1, 3, 7, 24, 61, 100])
def test_huge_label_values_are_kept_apart(desk: Any, number: int) -> None:
    """PostgreSQL refuses an index entry over 2,704 bytes, however many labels there are."""
    family = foreign("pr_total", "counter", "P.", [f"l{n}" for n in range(number)])
    text = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(30_000))
    sets = [tuple(f"{text[n * 31 :]}{end}" for n in range(number)) for end in "abc"]
    for _ in range(2):
        observe(desk, *[event(end, 1, labels, family) for end, labels in zip("abc", sets, strict=True)])
    assert sorted(desk.totals("pr").values()) == [1, 1, 1]


def test_label_values_that_no_database_takes_are_stored_all_the_same(desk: Any) -> None:
    odd = ["nul\0", "lone\ud800", "\udfff", "tab\t", 'quote"\\', "line\n", "\x7f", "💩"]
    for _ in range(2):
        observe(desk, *[event(text, 1, (text, None)) for text in odd])
    found = desk.totals("pr_merged")
    assert sum(found.values()) == len(odd)
    assert ("nul\ufffd", None) in found
    assert ("💩", None) in found
    assert ('quote"\\', None) in found


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1.7e308])
@pytest.mark.parametrize("family", [MERGED, WAIT], ids=["counter", "histogram"])
def test_what_would_spoil_a_total_for_ever_is_left_out(desk: Any, family: Any, bad: float) -> None:
    labels = ("a",) * len(family.labels)
    observe(desk, event("1", 2, labels, family), event("bad", bad, labels, family), cursor="1")
    assert desk.total(family.name) == 2
    # Once the source knows better, the event counts; also next to its bad self.
    observe(desk, event("bad", bad, labels, family), event("bad", 3, labels, family))
    assert desk.total(family.name) == 5
    assert desk.view.totals[0].value == 5


def test_a_total_that_is_given_up_is_gone_and_begins_anew(desk: Any) -> None:
    observe(desk, event("1", 5), event("2", 3, ("b", "x")), event("3", 1, ("a",), WAIT))
    gone = ((MERGED, ("a", "x")), (WAIT, ("a",)), (MERGED, ("never", "x")))
    assert desk.save(given_up=gone).changed == 2
    assert desk.totals("pr_merged") == {("b", "x"): 3}
    assert desk.totals("pr_wait_seconds") == {}
    observe(desk, event("1", 5), event("4", 2))
    assert desk.totals("pr_merged") == {("a", "x"): 2, ("b", "x"): 3}


def test_a_counter_never_falls(desk: Any) -> None:
    observe(desk, event("1", 5), event("2", -3), event("3", 0), event("4", -0.0))
    assert desk.totals("pr_merged") == {("a", "x"): 5}


def test_events_that_are_all_left_out_are_no_news(desk: Any, sql: Any) -> None:
    version = desk.view.version
    assert observe(desk, event("1", NAN), event("2", -1)).changed == 0
    assert (desk.view.version, remembered(sql)) == (version, 0)


amounts = st.floats(0, 100) | st.sampled_from([1.0, 10.0])


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    world=st.dictionaries(
        st.text(max_size=2), st.tuples(amounts, st.sampled_from(["a", "", None])), max_size=8
    ),
    batches=st.lists(st.lists(st.integers(0, 7), max_size=8), max_size=6),
)
def test_totals_are_what_an_independent_count_says(
    new_desk: Any, world: dict[str, tuple[float, str | None]], batches: list[list[int]]
) -> None:
    desk, keys, seen = new_desk(), list(world), set()
    for batch in batches:
        picked = [keys[number] for number in batch if number < len(keys)]
        seen |= set(picked)
        observe(desk, *[event(key, world[key][0], (world[key][1],), WAIT) for key in picked])
    for total in desk.view.totals:
        mine = [amount for key, (amount, label) in world.items() if key in seen and (label,) == total.labels]
        assert total.value == pytest.approx(sum(mine))
        shown = WAIT.distribution(total.buckets, total.value).counts
        assert shown == (
            sum(x <= 1 for x in mine), sum(1 < x <= 10 for x in mine), sum(x > 10 for x in mine)
        )  # fmt: skip
    assert {total.labels for total in desk.view.totals} == {(world[key][1],) for key in seen}


# -- many, at once, and half way -----------------------------------------------------------------


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_twenty_thousand_events_at_once_take_seconds_and_seeing_them_again_less(desk: Any) -> None:
    events = [event(str(n), 1, (f"team {n % 500}", str(n % 3))) for n in range(20_000)]
    started = time.monotonic()
    assert observe(desk, *events).changed == 20_000
    assert time.monotonic() - started < 120
    started = time.monotonic()
    assert observe(desk, *events).changed == 0
    assert time.monotonic() - started < 60
    assert desk.total("pr_merged") == 20_000
    assert len(desk.totals("pr_merged")) == 1500


@pytest.mark.parametrize("last", ["INSERT observed", "INSERT totals", "UPDATE units"])
def test_a_database_that_refuses_half_way_remembers_no_event(
    desk: Any, sql: Any, store_url: str, last: str
) -> None:
    before = content(sql)
    for statement in REFUSE[kind_of(store_url)]:
        sql(statement.format(*last.split()))
    with pytest.raises(StoreError, match="refused"):
        observe(desk, event("1"), event("2"), cursor="next")
    assert (content(sql), remembered(sql)) == (before, 0)
    sql("DROP TRIGGER refuse" + ("" if kind_of(store_url) == "sqlite" else f" ON {last.split()[1]}"))
    assert observe(desk, event("1"), event("2"), cursor="next").changed == 2
    assert desk.total("pr_merged") == 2


def test_two_processes_that_see_the_same_events_at_once_count_each_once(
    desk: Any, open_store: Any, make: Any
) -> None:
    desks = [desk, make.Desk(open_store(), desk.unit), make.Desk(open_store(), desk.unit)]
    changed: list[int] = []

    def save(one: Any) -> None:
        for start in range(0, 60, 4):
            events = [event(str(n), 1, (f"t{n % 3}", "x")) for n in range(start, start + 8)]
            changed.append(observe(one, *reversed(events) if one is desk else events).changed)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(save, desks))
    assert desk.total("pr_merged") == sum(changed) == 64


def test_the_same_event_between_looking_and_writing_counts_once(
    desk: Any, open_store: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process saves it after we looked whether it is known, and before we hold the unit."""
    other = make.Desk(open_store(), desk.unit)
    look = desk.store._news

    def look_and_wait(unit_id: int, batch: Batch) -> Batch:
        found: Batch = look(unit_id, batch)
        observe(other, event("1"))
        return found

    monkeypatch.setattr(desk.store, "_news", look_and_wait)
    assert observe(desk, event("1"), event("2")).changed == 1
    assert desk.total("pr_merged") == 2


def test_saves_of_other_units_and_registrations_go_on_side_by_side(
    store: Any, open_store: Any, make: Any
) -> None:
    """No deadlock, and nothing lost: events of many units from several processes, with units registered."""
    units = [Unit(str(number), f"u{number}") for number in range(6)]
    stored = store.register("shared", units, backfill_days=0, now=make.START)
    stores = [store, open_store(), open_store()]

    def work(number: int) -> None:
        mine = stores[number % 3]
        for turn in range(12):
            unit = stored[(number + turn) % 6]
            events = tuple(event(f"{turn}-{n}", 1, (f"t{n % 4}", None)) for n in range(20))
            mine.save(unit.id, Batch(observations=events, unit=unit.unit, cursor=str(turn)), make.START)
            if turn % 4 == 0:
                mine.register("shared", units[::-1], backfill_days=0, now=make.START)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = {one.id: make.Desk(store, one.id).total("pr_merged") for one in stored}
    assert found == dict.fromkeys(found, 12 * 20)


# -- a database of the version before ------------------------------------------------------------


@pytest.fixture
def old_database(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database as the version before events made it, with a unit and a total."""

    def stop_at_0001(engine: Any, name: str) -> None:
        config = AlembicConfig()
        config.set_main_option("script_location", str(migrating._MIGRATIONS))
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.exec_driver_sql("INSERT INTO targets (id, name, first_seen_at) VALUES (1, 'old', 0)")
            connection.exec_driver_sql(
                "INSERT INTO units (id, target_id, key, name, default_branch, counts_from, caught_up, active,"
                " version) VALUES (1, 1, '7', 'one', 'main', 0, true, true, 4)"
            )
            connection.exec_driver_sql(
                "INSERT INTO totals (unit_id, family, labels, value)"
                " VALUES (1, 'pr_merged', '[\"a\", \"x\"]', 3)"
            )

    with monkeypatch.context() as patch:
        patch.setattr("exporter.store.connect.migrate", stop_at_0001)
        open_engine(store_url).dispose()
    return store_url


def test_a_database_of_the_version_before_is_migrated_with_all_it_holds(
    old_database: str, open_store: Any, make: Any, sql: Any
) -> None:
    assert sql(f"SELECT version_num FROM {VERSION_TABLE}") == [("0001",)]
    with pytest.raises(Exception, match="observed"):
        remembered(sql)
    store: SqlStore = open_store()
    assert sql(f"SELECT version_num FROM {VERSION_TABLE}") == [(HEAD,)]
    desk = make.Desk(store, 1)
    assert (desk.view.version, desk.totals("pr_merged")) == (4, {("a", "x"): 3})
    for _ in range(2):
        observe(desk, event("1"))
    assert desk.totals("pr_merged") == {("a", "x"): 4}
    assert json.loads(sql("SELECT labels FROM totals")[0][0]) == ["a", "x"]


def test_a_migration_that_fails_leaves_the_version_before_as_it_was(
    old_database: str, open_store: Any, sql: Any
) -> None:
    sql("CREATE TABLE observed (id INTEGER)")
    before = content(sql)
    with pytest.raises(StoreError, match="already exists"):
        open_store()
    assert content(sql) == before
    assert sql(f"SELECT version_num FROM {VERSION_TABLE}") == [("0001",)]
