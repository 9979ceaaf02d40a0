"""The exposition: the served bytes are those of prometheus_client, whatever was swapped, cut or dropped."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.errors import LabelMismatch
from exporter.families import Distribution, Family, Sample, counter, gauge, histogram
from exporter.rendering import Format
from tests.support.fakes import World
from tests.support.promtool import check_metrics

STATE = gauge("ci_state", 'State "of" a \\ thing.\nMore.', ("zone", "project"))
WAIT = gauge("ci_wait_seconds", "Wait.", unit="seconds")
RUNS = counter("ci_runs_total", "Runs 100 %.", ("project",))
TIMES = histogram("ci_time_seconds", "Time.", ("project", "alpha"), buckets=(0.5, 10, 2e6), unit="seconds")
SHARED = gauge("ci_shared", "Shared.", ("project",))
OURS = {"one": (STATE, WAIT, TIMES, SHARED), "two": (RUNS, SHARED)}
LIVE = gauge("ci_live", "Live.", ("project",))

awkward = st.sampled_from(
    ['a"b', "a\\", "\\n", "a\nb", "100%", "%r", " %r\n", "\r", "\0", "\ud800", "💩", "", "é"]
)
labels = awkward | st.text(st.characters(), max_size=6)
numbers = (
    st.floats() | st.integers(-(10**20), 10**20) | st.sampled_from([-0.0, 1e6, 999999.0, 1e-300, 123456789])
)
counts = st.integers(0, 10**7)


def samples_of(family: Family) -> st.SearchStrategy[list[Sample]]:
    values: st.SearchStrategy[Any] = numbers
    if family.kind == "histogram":
        values = st.builds(Distribution, st.tuples(*[counts] * (len(family.buckets) + 1)), numbers.map(float))
    one = st.builds(Sample, st.tuples(*[labels] * len(family.labels)), values)
    return st.lists(one, max_size=3)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, str, dict[Family, list[Sample]]]:
    """One swap or drop: collector, entity, samples."""
    name = draw(st.sampled_from(sorted(OURS)))
    families = draw(st.sets(st.sampled_from(OURS[name])))
    return name, draw(st.sampled_from("abcd")), {family: draw(samples_of(family)) for family in families}


def served_as_prometheus_client_does(world: World) -> None:
    """Check both formats, plain and compressed, all from one state of the process metrics."""
    for form, generate in ((Format.TEXT, generate_latest), (Format.OPENMETRICS, generate_openmetrics)):
        expected = generate(world.registry)
        for packed in (False, True):
            body = world.registry.render(form, gzip=packed)
            assert without_process(gzip.decompress(body) if packed else body) == without_process(expected)


def without_process(text: bytes) -> bytes:
    """*text* but for what changes between two readings: memory and CPU time of this process."""
    lines = text.split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(b"process_"))


@pytest.mark.no_cover  # long, through code that smaller tests cover
@settings(max_examples=60, deadline=None)
@given(st.lists(changes(), max_size=8), st.booleans())
def test_served_bytes_equal_generate_latest(steps: list[Any], live: bool) -> None:
    world = World()
    pages = {name: world.polled(name, *families).context.page for name, families in OURS.items()}
    if live:
        world.live("three", LIVE, SHARED, read=lambda: metrics(LIVE, SHARED))
    for name, entity, samples in steps:
        pages[name].swap(entity, samples)
        served_as_prometheus_client_does(world)
    served_as_prometheus_client_does(world)


def metrics(*families: Family) -> Iterable[Metric]:
    """A metric of each family with one sample of a live collector."""
    for family in families:
        metric = family.metric()
        metric.add_sample(family.exposed_name, {"project": 'l"ive\n'}, 1e6)
        yield metric


def test_served_text_can_be_parsed_in_both_formats() -> None:
    world = World()
    page = world.polled("one", *OURS["one"]).context.page
    for entity in "ab":
        page.swap(
            entity,
            {
                STATE: [Sample(("z\n", f'{entity}"\\ 💩'), 1e9), Sample(("\r", entity), float("nan"))],
                TIMES: [Sample((entity, "x"), Distribution((1, 2, 3, 4), 5.5))],
            },
        )
    text = world.registry.render(Format.TEXT).decode()
    found = {family.name: family for family in parse_text(text)}
    assert {sample.labels["project"] for sample in found["ci_state"].samples} == {
        'a"\\ 💩', 'b"\\ 💩', "a", "b",
    }  # fmt: skip
    assert found["ci_state"].documentation == 'State "of" a \\ thing.\nMore.'
    open_text = world.registry.render(Format.OPENMETRICS).decode()
    assert open_text.endswith("# EOF\n")
    parsed = {family.name: family for family in parse_openmetrics(open_text)}
    assert parsed["ci_time_seconds"].unit == "seconds"
    assert len(parsed["ci_time_seconds"].samples) == 12


def test_promtool_accepts_what_is_served() -> None:
    world = World()
    page = world.polled("one", *OURS["one"]).context.page
    page.swap("a", {STATE: [Sample(('q"\n\\%💩\0\r', "b"), -0.0)], WAIT: [Sample((), float("inf"))]})
    page.swap("b", {TIMES: [Sample(("a", "b"), Distribution((1, 2, 3, 4), 5.5))]})
    assert check_metrics(world.registry.render(Format.TEXT)) == ""


def test_promtool_sees_a_broken_exposition() -> None:
    assert "parsing" in check_metrics(b"ci_state{a=} 1\n")


def test_an_unchanged_body_is_the_same_object_and_a_changed_one_is_not() -> None:
    world = World()
    page = world.polled("one", *OURS["one"]).context.page
    page.swap("a", {WAIT: [Sample((), 1.0)]})
    for form in Format:
        for packed in (False, True):
            first = world.exposition.gather(form, gzip=packed)
            assert world.exposition.gather(form, gzip=packed) is first
            page.swap("a", {WAIT: [Sample((), 1)]})
            assert world.exposition.gather(form, gzip=packed) is first
            page.swap("a", {WAIT: [Sample((), 2.0)]})
            assert world.exposition.gather(form, gzip=packed) != first
            page.swap("a", {WAIT: [Sample((), 1.0)]})


def test_series_of_a_dropped_entity_vanish_and_others_stay() -> None:
    world = World()
    page = world.polled("two", *OURS["two"]).context.page
    for entity in "abc":
        page.swap(entity, {RUNS: [Sample((entity,), 1.0)], SHARED: [Sample((entity,), 1.0)]})
    page.drop("b")
    assert page.entities() == {"a", "c"}
    body = b"".join(world.exposition.gather(Format.TEXT, gzip=False).pieces).decode()
    assert 'project="a"' in body
    assert 'project="b"' not in body
    page.swap("a", {RUNS: [Sample(("a",), 1.0)]})
    assert page.series() == 3
    page.clear()
    assert (page.series(), page.entities()) == (0, set())


def test_samples_of_a_family_that_is_not_declared_are_refused() -> None:
    world = World()
    page = world.polled("two", *OURS["two"]).context.page
    page.swap("a", {RUNS: [Sample(("a",), 1.0)]})
    with pytest.raises(ValueError, match="does not declare: ci_state, ci_wait_seconds"):
        page.swap("a", {RUNS: [], STATE: [], WAIT: []})
    assert page.series() == 1


@pytest.mark.parametrize(
    "bad", [Sample((), 1.0), Sample(("a", "b"), 1.0), Sample((None,), 1.0), Sample((1,), 1.0)]
)
def test_wrong_labels_leave_the_whole_entity_as_it_was(bad: Sample) -> None:
    world = World()
    page = world.polled("two", *OURS["two"]).context.page
    page.swap("a", {RUNS: [Sample(("a",), 1.0)], SHARED: [Sample(("a",), 1.0)]})
    before = world.exposition.gather(Format.TEXT, gzip=False)
    with pytest.raises(LabelMismatch):
        page.swap("a", {RUNS: [Sample(("a",), 2.0)], SHARED: [bad]})
    assert world.exposition.gather(Format.TEXT, gzip=False) is before


def test_a_value_that_is_no_number_leaves_the_whole_entity_as_it_was() -> None:
    world = World()
    page = world.polled("two", *OURS["two"]).context.page
    page.swap("a", {RUNS: [Sample(("a",), 1.0)]})
    with pytest.raises(TypeError):
        page.swap("a", {RUNS: [Sample(("a",), 2.0)], SHARED: [Sample(("a",), None)]})  # type: ignore[arg-type]
    assert page.series() == 1
    served_as_prometheus_client_does(world)


def runs(*projects: str) -> dict[Family, list[Sample]]:
    return {RUNS: [Sample((project,), 1.0) for project in projects]}


def test_the_cap_drops_whole_samples_counts_them_once_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(cap=15)
    page = world.polled("one", *OURS["one"]).context.page
    times = [Sample((str(number), "x"), Distribution((1, 0, 0, 0), 1.0)) for number in range(3)]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            page.swap("a", {TIMES: times})  # 3 x 6 lines, of which 2 x 6 fit
        page.swap("b", {TIMES: times[:1]})
    assert page.series() == 12
    assert world.exposition.dropped == {("ci_time_seconds", "limit"): 12}
    assert [record.message for record in caplog.records] == [
        "series cap reached, further series of this family are dropped"
    ]
    served_as_prometheus_client_does(world)


def test_the_cap_holds_for_all_collectors_of_a_family_together() -> None:
    world = World(cap=3)
    one, two = (world.polled(name, *families).context.page for name, families in OURS.items())
    one.swap("a", {SHARED: [Sample((str(number),), 1.0) for number in range(2)]})
    two.swap("a", {SHARED: [Sample((str(number),), 2.0) for number in range(2, 5)]})
    assert (one.series(), two.series()) == (2, 1)
    assert world.exposition.dropped == {("ci_shared", "limit"): 2}
    one.drop("a")
    two.swap("a", {SHARED: [Sample((str(number),), 2.0) for number in range(2, 5)]})
    assert two.series() == 3
    assert world.exposition.dropped == {("ci_shared", "limit"): 2}


def test_an_entity_that_was_cut_gets_its_series_back_at_its_next_swap_once_there_is_room() -> None:
    world = World(cap=4)
    page = world.polled("two", *OURS["two"]).context.page
    page.swap("big", runs("1", "2", "3"))
    page.swap("cut", runs("4", "5", "6"))
    assert page.series() == 4
    assert page.starved() == set()
    page.swap("big", runs("1"))
    assert page.starved() == {"cut"}
    page.swap("cut", runs("4", "5", "6"))
    assert page.series() == 4
    assert page.starved() == set()
    assert world.exposition.dropped == {("ci_runs_total", "limit"): 2}


def test_room_for_less_than_one_sample_starves_nobody() -> None:
    world = World(cap=10)
    page = world.polled("one", *OURS["one"]).context.page
    page.swap("a", {TIMES: [Sample((str(n), "x"), Distribution((1, 0, 0, 0), 1.0)) for n in range(2)]})
    assert page.series() == 6
    assert page.starved() == set()


def test_an_entity_cut_to_nothing_can_be_dropped() -> None:
    world = World(cap=1)
    page = world.polled("two", *OURS["two"]).context.page
    page.swap("a", runs("1"))
    page.swap("b", runs("2"))
    page.drop("b")
    page.drop("a")
    assert page.starved() == set()
    assert page.series() == 0


def test_series_that_come_and_go_leave_no_trail_of_chunks() -> None:
    world = World()
    page = world.polled("two", *OURS["two"]).context.page
    long = "x" * 3000
    for turn in range(40):
        for entity in range(10):
            page.swap(str(entity), {} if (turn + entity) % 2 else runs(f"{entity}{long}"))
    shelf = page.shelves[RUNS]
    assert len(shelf._chunks) <= 3
    assert len(shelf.deflated()) == len(shelf.texts()) == len(shelf._chunks)
    page.clear()
    assert shelf._chunks == {}
    assert shelf.lines == 0


def test_a_page_that_no_registered_collector_stands_behind_is_not_served() -> None:
    world = World()
    world.polled("two", *OURS["two"])
    before = world.exposition.gather(Format.TEXT, gzip=False)
    world.exposition.page("refused", (STATE,)).swap("a", {STATE: [Sample(("a", "b"), 1.0)]})
    assert world.exposition.gather(Format.TEXT, gzip=False) == before
    served_as_prometheus_client_does(world)


def test_a_page_is_kept_whatever_families_are_asked_for() -> None:
    world = World()
    page = world.exposition.page("two", OURS["two"])
    assert world.exposition.page("two", list(OURS["two"])) is page
    assert world.exposition.page("two", (RUNS,)) is page


@pytest.mark.no_cover
def test_scrapes_never_see_half_an_entity_while_threads_swap() -> None:
    world = World()
    page = world.polled("one", *OURS["one"]).context.page
    over = threading.Event()
    broken: list[str] = []

    def swap(entity: str) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            size = 1 + turn % 7
            page.swap(
                entity,
                {STATE: [Sample((entity, str(number)), size) for number in range(size)]} if turn % 5 else {},
            )

    def scrape(packed: bool) -> None:
        try:
            for _ in range(150):
                body = world.registry.render(Format.TEXT, gzip=packed)
                check((gzip.decompress(body) if packed else body).decode())
                check(generate_latest(world.registry).decode())
        except Exception as error:
            broken.append(repr(error))

    def check(text: str) -> None:
        sizes: dict[str, list[str]] = {}
        for line in text.splitlines():
            if line.startswith("ci_state{"):
                zone = line.partition('zone="')[2].partition('"')[0]
                sizes.setdefault(zone, []).append(line.rpartition(" ")[2])
        broken.extend(
            f"{zone}: {found}" for zone, found in sizes.items() if set(found) != {f"{len(found)}.0"}
        )

    swappers = [threading.Thread(target=swap, args=(entity,)) for entity in "abc"]
    scrapers = [threading.Thread(target=scrape, args=(packed,)) for packed in (False, True)]
    for thread in swappers + scrapers:
        thread.start()
    for thread in scrapers:
        thread.join(30)
    over.set()
    for thread in swappers:
        thread.join(30)
    assert broken == []
    assert not any(thread.is_alive() for thread in swappers + scrapers)
