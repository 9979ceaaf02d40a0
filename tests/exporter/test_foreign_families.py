"""Families that a user named: labels left out, times of their own, counters without _total, on a page."""

from __future__ import annotations

import gzip
import logging
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.errors import LabelMismatch
from exporter.families import Distribution, Family, Labels, Sample, Stamped, foreign, gauge
from exporter.rendering import Format, cleaned
from tests.support.fakes import World, value
from tests.support.promtool import check_metrics

OPEN = foreign("pr_open", "gauge", "Open.", ("zone", "team", "alpha"))
MERGED = foreign("pr_merged_total", "counter", "Merged.", ("team",))
WAIT = foreign("pr_wait_seconds", "histogram", "Wait.", ("team", "alpha", "z"), buckets=(1, 2e6))
SEEN = foreign("pr_seen", "gauge", "Seen.", ("team", "zone"), stamped=True)
BARE = foreign("pr_closed", "counter", "Closed.", ("team",))
BARE_SEEN = foreign("pr_bare_seen", "counter", "Closed.", ("team",), stamped=True)
PLAIN = gauge("ci_plain", "Plain.", ("team",))

texts = st.sampled_from(
    ['a"b', "a\\", "a\nb", "100%", " 5", " 1700000000000", "\r", "\0", "\ud800", "💩", ""]
)
some_label = st.none() | texts | st.text(st.characters(), max_size=4)
numbers = st.floats() | st.integers(-(10**20), 10**20)
counts = st.integers(0, 10**7)


def served(world: World, form: Format) -> bytes:
    """The body, which must be the same compressed and plain."""
    body = world.registry.render(form)
    packed = gzip.decompress(world.registry.render(form, gzip=True))
    assert without_process(packed) == without_process(body)
    return body


def without_process(text: bytes) -> bytes:
    """*text* but for what changes between two readings: memory and CPU time of this process."""
    return b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"process_"))


def samples_of(family: Family, values: st.SearchStrategy[Any] = numbers) -> st.SearchStrategy[list[Sample]]:
    if family.kind == "histogram":
        values = st.builds(Distribution, st.tuples(*[counts] * (len(family.buckets) + 1)), numbers.map(float))
    return st.lists(st.builds(Sample, st.tuples(*[some_label] * len(family.labels)), values), max_size=4)


# A time that prometheus_client, which computes with floats, does not shift by a millisecond.
exact = st.integers(-(2**40), 2**40).filter(lambda ms: int(float(ms / 1000) * 1000) == ms)
stamped = st.builds(Stamped, numbers, exact)


@pytest.mark.no_cover  # long, through code that smaller tests cover
@settings(max_examples=60, deadline=None)
@given(
    samples_of(OPEN), samples_of(MERGED), samples_of(WAIT), samples_of(SEEN, stamped | numbers), st.booleans()
)
def test_served_bytes_equal_generate_latest(
    opened: Any, merged: Any, wait: Any, seen: Any, twice: bool
) -> None:
    world = World()
    page = world.polled("one", OPEN, MERGED, WAIT, SEEN).context.page
    for samples in [{OPEN: opened, MERGED: merged, WAIT: wait, SEEN: seen}] * (1 + twice):
        page.swap("a", samples)
        page.swap("b", {} if twice else samples)
    for form, generate in ((Format.TEXT, generate_latest), (Format.OPENMETRICS, generate_openmetrics)):
        assert without_process(served(world, form)) == without_process(generate(world.registry))


# -- labels left out -----------------------------------------------------------------------------


def test_a_label_that_is_left_out_is_not_written() -> None:
    world = World()
    world.polled("one", OPEN, WAIT).context.page.swap(
        "a",
        {
            OPEN: [Sample((None, "x", None), 1), Sample((None, None, None), 2), Sample(("z", "x", "a"), 3)],
            WAIT: [Sample((None, None, None), Distribution((1, 0, 2), 7.0))],
        },
    )
    for form in Format:
        text = served(world, form).decode()
        assert 'pr_open{team="x"} 1.0\npr_open 2.0\npr_open{alpha="a",team="x",zone="z"} 3.0\n' in text
        assert 'pr_wait_seconds_bucket{le="1.0"} 1.0\n' in text
        assert "\npr_wait_seconds_count 3.0\npr_wait_seconds_sum 7.0\n" in text
    assert check_metrics(served(world, Format.TEXT)) == ""


def test_the_bound_of_a_bucket_stands_where_sorting_puts_it_whatever_is_left_out() -> None:
    world = World()
    page = world.polled("one", WAIT).context.page
    page.swap("a", {WAIT: [Sample(("t", None, "z"), Distribution((1, 0, 0), 1.0))]})
    assert 'pr_wait_seconds_bucket{le="+Inf",team="t",z="z"} 1.0' in served(world, Format.TEXT).decode()


def test_only_a_sparse_family_may_leave_labels_out() -> None:
    page = World().polled("one", PLAIN).context.page
    with pytest.raises(LabelMismatch, match="ci_plain"):
        page.swap("a", {PLAIN: [Sample((None,), 1.0)]})


@pytest.mark.parametrize("labels", [(), (None,), (None,) * 4, (None, 1, None), (b"x", None, None)])
def test_a_sparse_family_still_wants_all_its_labels_in_order(labels: Any) -> None:
    page = World().polled("one", OPEN).context.page
    with pytest.raises(LabelMismatch):
        page.swap("a", {OPEN: [Sample(labels, 1.0), Sample(labels, 2.0)]})


# -- times of their own --------------------------------------------------------------------------


@given(st.integers(-(10**12), 10**14), numbers)
def test_both_formats_tell_the_same_time(milliseconds: int, number: float) -> None:
    world = World()
    world.polled("one", SEEN).context.page.swap(
        "a", {SEEN: [Sample(("x 5", None), Stamped(number, milliseconds)), Sample((" 7", ""), 7)]}
    )
    text = [m for m in parse_text(served(world, Format.TEXT).decode()) if m.name == "pr_seen"]
    if milliseconds < 0:
        # The library's parser of OpenMetrics takes no times before 1970; Prometheus does.
        assert f" {milliseconds / 1000}\n".encode() in served(world, Format.OPENMETRICS)
    else:
        parsed = parse_openmetrics(served(world, Format.OPENMETRICS).decode())
        opened = [m for m in parsed if m.name == "pr_seen"]
        assert [
            None if s.timestamp is None else float(s.timestamp) for s in opened[0].samples
        ] == pytest.approx([milliseconds / 1000, None], abs=1e-6)
        assert [s.labels for s in opened[0].samples] == [{"team": "x 5"}, {"team": " 7", "zone": ""}]
    assert text[0].samples[0].timestamp == pytest.approx(milliseconds / 1000, abs=1e-6)
    assert text[0].samples[1].timestamp is None
    assert text[0].samples[1].value == 7


def test_a_time_is_written_in_milliseconds_and_in_openmetrics_in_seconds() -> None:
    world = World()
    page = world.polled("one", SEEN, BARE_SEEN).context.page
    for stamp in (1_700_000_000_001, 1_700_000_000_002):
        page.swap("a", {SEEN: [Sample(("x", None), Stamped(1, stamp))], BARE_SEEN: []})
        page.swap("b", {BARE_SEEN: [Sample((None,), Stamped(1e9, stamp))]})
        assert f'pr_seen{{team="x"}} 1.0 {stamp}\n' in served(world, Format.TEXT).decode()
        assert f"pr_bare_seen 1e+09 {stamp}\n" in served(world, Format.TEXT).decode()
        assert f'pr_seen{{team="x"}} 1.0 {stamp / 1000}\n' in served(world, Format.OPENMETRICS).decode()
    page.declare((SEEN,))  # promtool does not like counters without _total
    assert check_metrics(served(world, Format.TEXT)) == ""


@pytest.mark.parametrize(
    "bad",
    [Stamped(1, 1.5), Stamped(1, None), Stamped("a", 1), None, Distribution((1,), 1.0)],  # type: ignore[arg-type]
)
def test_what_is_no_value_with_a_time_leaves_the_entity_as_it_was(bad: Any) -> None:
    world = World()
    page = world.polled("one", SEEN, PLAIN).context.page
    page.swap("a", {SEEN: [Sample(("x", None), Stamped(1, 5))]})
    before = served(world, Format.TEXT)
    with pytest.raises((TypeError, ValueError)):
        page.swap("a", {SEEN: [Sample(("x", None), bad)]})
    assert b'pr_seen{team="x"} 1.0 5\n' in before
    assert b'pr_seen{team="x"} 1.0 5\n' in served(world, Format.TEXT)


def test_a_family_without_times_takes_none() -> None:
    page = World().polled("one", PLAIN).context.page
    with pytest.raises((TypeError, ValueError)):
        page.swap("a", {PLAIN: [Sample(("x",), Stamped(1, 5))]})


def test_a_histogram_with_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="time of their own"):
        foreign("pr_wait", "histogram", "Wait.", buckets=(1,), stamped=True)


# -- counters without _total ---------------------------------------------------------------------


def test_a_counter_without_total_keeps_its_name_and_is_unknown_to_openmetrics() -> None:
    """OpenMetrics has no counter whose samples do not end in _total, and parsers refuse the whole scrape
    for one; the name is the user's, and not ours to change. So it is of type unknown there."""
    world = World()
    page = world.polled("one", BARE).context.page
    page.swap("a", {BARE: [Sample(("x",), 3)]})
    text, opened = (served(world, form).decode() for form in (Format.TEXT, Format.OPENMETRICS))
    assert '# HELP pr_closed Closed.\n# TYPE pr_closed counter\npr_closed{team="x"} 3.0\n' in text
    assert '# HELP pr_closed Closed.\n# TYPE pr_closed unknown\npr_closed{team="x"} 3.0\n' in opened
    found = {family.name: family for family in parse_text(text)}
    assert found["pr_closed"].type == "counter"
    assert {family.name: family.type for family in parse_openmetrics(opened)}["pr_closed"] == "unknown"
    assert value(world, "pr_closed", team="x") == 3
    refused = opened.replace("pr_closed unknown", "pr_closed counter")
    with pytest.raises(ValueError, match="Clashing name"):
        list(parse_openmetrics(refused))


def test_a_counter_with_total_is_one_in_both_formats() -> None:
    assert (MERGED.name, MERGED.exposed_name, MERGED.openmetrics_kind) == (
        "pr_merged", "pr_merged_total", "counter",
    )  # fmt: skip
    assert (BARE.name, BARE.exposed_name, BARE.openmetrics_kind) == ("pr_closed", "pr_closed", "unknown")
    gauge_ = foreign("queue_total", "gauge", "A gauge may be named so.")
    assert (gauge_.name, gauge_.exposed_name) == ("queue_total", "queue_total")


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "ä", "a\n", "a b"])
def test_names_that_no_format_can_write_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a metric name"):
        foreign(name, "gauge", "Help.")


def test_a_name_with_colons_stays_as_it_is() -> None:
    """Ours have none, but a user's may; prometheus_client would write underscores."""
    world = World()
    rule = foreign("team:pr_open:sum", "gauge", "Sum.", ("team",))
    world.polled("one", rule).context.page.swap("a", {rule: [Sample(("x",), 3)]})
    for form, parse in ((Format.TEXT, parse_text), (Format.OPENMETRICS, parse_openmetrics)):
        found = {family.name: family for family in parse(served(world, form).decode())}
        assert found["team:pr_open:sum"].samples[0].value == 3


# -- duplicates, and what a collector left out ---------------------------------------------------


def test_duplicates_are_counted_at_each_swap_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    page = world.polled("one", OPEN, WAIT).context.page
    twice = [Sample(("z", "x", None), 1), Sample(("z", "y", None), 2), Sample(("z", "x", None), 3)]
    with caplog.at_level(logging.WARNING):
        for turn in range(1, 4):
            page.swap("a", {OPEN: twice})
            assert world.exposition.dropped == {("pr_open", "duplicate"): turn}
    (record,) = caplog.records
    assert (record.family, record.reason) == ("pr_open", "duplicate")  # type: ignore[attr-defined]
    assert record.labels == {"zone": "z", "team": "x", "alpha": None}  # type: ignore[attr-defined]
    assert [sample.value for sample in page.shelves[OPEN].get("a").samples] == [1, 2]
    assert value(world, "ci_exporter_series_dropped_total", family="pr_open", reason="duplicate") == 3
    assert value(world, "ci_exporter_series_dropped_total", family="pr_open", reason="limit") == 0
    page.swap("a", {OPEN: twice[:2]})
    assert world.exposition.dropped == {("pr_open", "duplicate"): 3}


def test_duplicates_of_a_histogram_count_with_all_their_series() -> None:
    world = World()
    page = world.polled("one", WAIT).context.page
    page.swap("a", {WAIT: [Sample(("x", None, None), Distribution((1, 0, 0), 1.0))] * 2})
    assert world.exposition.dropped == {("pr_wait_seconds", "duplicate"): 5}
    assert page.series() == 5


def test_an_empty_label_is_to_prometheus_one_that_is_left_out() -> None:
    labels: list[Labels] = [("a", None), ("a", ""), (None, "a"), ("", "a"), ("", ""), (None, None)]
    once, repeated = cleaned([Sample(one, number) for number, one in enumerate(labels)])
    assert [sample.labels for sample in once] == [("a", None), (None, "a"), ("", "")]
    assert [sample.value for sample in repeated] == [1, 3, 5]


def test_what_a_collector_left_out_is_counted_by_its_reason() -> None:
    world = World()
    page = world.polled("one", OPEN).context.page
    page.note_dropped(OPEN, "claimed", [Sample((None, "x", None), 1.0)] * 2)
    page.note_dropped(OPEN, "claimed", [])
    page.note_dropped(OPEN, "never", [])
    assert world.exposition.dropped == {("pr_open", "claimed"): 2}
    assert value(world, "ci_exporter_series_dropped_total", family="pr_open", reason="claimed") == 2


def test_the_cap_is_for_what_is_left_after_duplicates() -> None:
    world = World(cap=2)
    page = world.polled("one", OPEN).context.page
    page.swap("a", {OPEN: [Sample((None, team, None), 1.0) for team in "xxyyz"]})
    assert world.exposition.dropped == {("pr_open", "duplicate"): 2, ("pr_open", "limit"): 1}
    assert page.series() == 2
    assert page.starved() == set()


# -- declare -------------------------------------------------------------------------------------


def test_declaring_keeps_what_is_shown_of_families_that_stay_and_nothing_else() -> None:
    world = World()
    page = world.polled("one", OPEN, MERGED, SEEN).context.page
    page.swap("a", {OPEN: [Sample((None, "x", None), 1)], MERGED: [Sample(("x",), 2)]})
    kept = page.shelves[OPEN]
    page.declare((SEEN, OPEN, WAIT))
    assert page.families == (SEEN, OPEN, WAIT)
    assert page.shelves[OPEN] is kept
    assert page.series() == 1
    text = served(world, Format.TEXT).decode()
    assert "# HELP pr_open" in text
    assert "# HELP pr_seen" not in text, "nothing was shown of it yet"
    assert "# HELP pr_merged" not in text
    with pytest.raises(ValueError, match="does not declare: pr_merged"):
        page.swap("a", {MERGED: []})
    page.declare((MERGED, OPEN))
    assert page.series() == 1, "what was dropped does not come back"
    page.swap("a", {MERGED: [Sample(("x",), 2)]})
    assert 'pr_open{team="x"}' not in served(world, Format.TEXT).decode()


def test_declaring_the_same_again_changes_no_byte() -> None:
    world = World()
    page = world.polled("one", OPEN, MERGED).context.page
    page.swap("a", {OPEN: [Sample((None, "x", None), 1)]})
    before = world.exposition.gather(Format.TEXT, gzip=True)
    page.declare([OPEN, MERGED])
    assert world.exposition.gather(Format.TEXT, gzip=True) is before


def test_a_family_that_is_gone_makes_room_under_its_cap() -> None:
    world = World(cap=2)
    one, two = (world.polled(name, OPEN).context.page for name in ("one", "two"))
    many = [Sample((None, str(number), None), 1) for number in range(2)]
    one.swap("a", {OPEN: many})
    two.swap("a", {OPEN: [Sample(("two", str(number), None), 1) for number in range(2)]})
    assert two.starved() == set()
    one.declare(())
    assert (one.series(), two.starved()) == (0, {"a"})


def test_scrapes_while_families_are_declared_never_fail() -> None:
    world = World()
    page = world.polled("one", OPEN, MERGED, WAIT, SEEN).context.page
    over, broken = threading.Event(), list[str]()
    sets = [(OPEN, MERGED, WAIT, SEEN), (SEEN, OPEN), (MERGED, OPEN, WAIT), (OPEN,)]

    def work(action: Any) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            try:
                action(turn)
            except Exception as error:
                broken.append(repr(error))

    def swap(turn: int) -> None:
        page.swap(str(turn % 5), {OPEN: [Sample((None, str(turn % 5), None), turn)]})

    def scrape(turn: int) -> None:
        body = gzip.decompress(world.registry.render(Format.TEXT, gzip=True))
        names = [m.name for m in parse_text(body.decode())]
        assert len(names) == len(set(names))
        assert "pr_open" in names
        generate_latest(world.registry)
        page.series(), page.entities(), page.starved()
        if turn == 50:
            over.set()

    # A family of which nothing was shown yet is not in a scrape, and a scrape may come before the first swap.
    swap(0)
    actions = [lambda turn: page.declare(sets[turn % 4]), swap, swap, scrape, scrape]
    threads = [threading.Thread(target=work, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    over.wait(60)
    over.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert broken == []
