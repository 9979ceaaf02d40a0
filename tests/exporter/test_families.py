"""Families: what may be declared, and how samples are made by label name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import LabelMismatch
from exporter.families import Distribution, Sample, clean, counter, foreign, gauge, histogram

RUNS = counter("ci_runs_total", "Runs.", ("project", "status"))
TIMES = histogram("ci_time_seconds", "Time.", ("project",), buckets=(1, 5, 10), unit="seconds")


def test_samples_are_made_by_label_name_in_any_order() -> None:
    assert RUNS.sample(2.0, status="failed", project="a/b") == Sample(("a/b", "failed"), 2.0)


@pytest.mark.parametrize(
    "labels",
    [{}, {"project": "a"}, {"project": "a", "status": "b", "ref": "c"}, {"project": "a", "state": "b"}],
)
def test_missing_and_surplus_labels_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(LabelMismatch, match=r"ci_runs takes the labels"):
        RUNS.sample(1.0, **labels)


@pytest.mark.parametrize("value", [None, 1, 1.5, b"x", ["x"]])
def test_label_values_that_are_no_strings_are_refused(value: object) -> None:
    with pytest.raises(LabelMismatch, match="must be a string"):
        RUNS.sample(1.0, project="a", status=value)  # type: ignore[arg-type]


def test_a_counter_is_exposed_with_its_suffix_and_declared_without() -> None:
    assert (RUNS.name, RUNS.exposed_name) == ("ci_runs", "ci_runs_total")
    assert TIMES.exposed_name == "ci_time_seconds"


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "a:b", "ä", "a\n", "a b"])
def test_names_that_need_escaping_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a metric name"):
        gauge(name, "Help.")
    with pytest.raises(ValueError, match="is not a label name"):
        gauge("ok", "Help.", (name,))


def test_only_histograms_keep_the_label_le_for_themselves() -> None:
    assert foreign("query_buckets", "counter", "Counted by the database.", ("le",)).labels == ("le",)
    with pytest.raises(ValueError, match="label"):
        foreign("query_seconds", "histogram", "Counted here.", ("le",), buckets=(1,))


@pytest.mark.parametrize("label", ["__name__", "__x"])
def test_reserved_label_names_are_refused(label: str) -> None:
    with pytest.raises(ValueError, match="is not a label name"):
        gauge("ok", "Help.", (label,))


def test_a_label_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        gauge("ok", "Help.", ("a", "b", "a"))


def test_a_counter_must_end_in_total() -> None:
    with pytest.raises(ValueError, match="must end in _total"):
        counter("ci_runs", "Runs.")


def test_a_name_must_end_in_its_unit() -> None:
    with pytest.raises(ValueError, match="must end in its unit _seconds"):
        gauge("ci_wait", "Wait.", unit="seconds")
    assert counter("ci_wait_seconds_total", "Wait.", unit="seconds").metric().unit == "seconds"


@pytest.mark.parametrize(
    "buckets", [(), (2, 1), (1, 1), (1, float("inf")), (float("nan"),), (1, float("nan"))]
)
def test_buckets_must_ascend_and_be_finite(buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="buckets must ascend and be finite"):
        histogram("ci_time", "Time.", buckets=buckets)


def test_help_that_cannot_be_written_as_utf8_is_made_writable() -> None:
    assert gauge("ok", "a\ud800b").help == "a?b"
    assert gauge("ok", "ä\N{SNOWMAN}").help == "ä\N{SNOWMAN}"


def test_two_declarations_of_one_name_are_two_families() -> None:
    one, two = gauge("ok", "Help."), gauge("ok", "Help.")
    assert one != two
    assert len({one, two, one}) == 2


def test_observations_at_a_bound_belong_below_it_and_beyond_the_last_to_infinity() -> None:
    assert TIMES.distribution({1.0: 2, 10.0: 3, float("inf"): 4}, 77.5) == Distribution((2, 0, 3, 4), 77.5)


def test_a_bound_of_an_earlier_version_counts_towards_the_next_higher_one() -> None:
    assert TIMES.distribution({3.0: 2, 5.0: 1, 600.0: 7}, 1.0).counts == (0, 3, 0, 7)


@given(st.dictionaries(st.floats(0, 1e9), st.integers(0, 10**9)))
def test_no_cumulative_bucket_claims_more_than_was_observed_below_it(observed: dict[float, int]) -> None:
    counts = TIMES.distribution(observed, 0.0).counts
    assert sum(counts) == sum(observed.values())
    for index, bound in enumerate(TIMES.buckets):
        assert sum(counts[: index + 1]) <= sum(n for value, n in observed.items() if value <= bound)


@given(st.text(st.characters()))
def test_cleaned_text_can_be_written_and_good_text_stays(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned
