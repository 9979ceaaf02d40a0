"""Rendering: the lines of one entity in one family, and what refuses to be rendered."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.errors import LabelMismatch
from exporter.families import Distribution, Family, Sample, counter, gauge, histogram
from exporter.rendering import (
    GZIP_START,
    Block,
    Format,
    checksum,
    cleaned,
    deflated,
    gzip_end,
    head,
    lines_per_sample,
)

STATE = gauge("ci_state", "State.", ("project", "alpha"))
PLAIN = gauge("ci_plain", "Plain.")
TIMES = histogram("ci_time_seconds", "Time.", ("project", "zone"), buckets=(0.5, 10, 1e6), unit="seconds")


def block(family: Family, samples: Sequence[Sample], old: Block | None = None) -> Block:
    labels, values = tuple(sample.labels for sample in samples), tuple(sample.value for sample in samples)
    return Block(family, labels, values, old.template if old else None)


def rendered(family: Family, *samples: Sample, old: Block | None = None) -> str:
    return block(family, samples, old).text.decode()


def test_labels_are_sorted_by_name_and_values_escaped() -> None:
    text = rendered(STATE, Sample(('a"b\\c\nd%e{}', "\N{PILE OF POO}\r\0"), 3.0))
    assert text == 'ci_state{alpha="\N{PILE OF POO}\r\0",project="a\\"b\\\\c\\nd%e{}"} 3.0\n'


def test_a_family_without_labels_has_no_braces() -> None:
    assert rendered(PLAIN, Sample((), 1)) == "ci_plain 1.0\n"


def test_a_histogram_shows_cumulative_buckets_count_and_sum() -> None:
    assert rendered(TIMES, Sample(("a", "z"), Distribution((1, 0, 2, 4), 12.5))) == (
        'ci_time_seconds_bucket{le="0.5",project="a",zone="z"} 1.0\n'
        'ci_time_seconds_bucket{le="10.0",project="a",zone="z"} 1.0\n'
        'ci_time_seconds_bucket{le="1e+06",project="a",zone="z"} 3.0\n'
        'ci_time_seconds_bucket{le="+Inf",project="a",zone="z"} 7.0\n'
        'ci_time_seconds_count{project="a",zone="z"} 7.0\n'
        'ci_time_seconds_sum{project="a",zone="z"} 12.5\n'
    )


@given(st.lists(st.floats() | st.integers(-(10**40), 10**40), min_size=1, max_size=5))
def test_every_number_is_written_as_prometheus_client_writes_it(values: list[float]) -> None:
    expected = "".join(f"ci_plain {floatToGoString(value)}\n" for value in values)  # type: ignore[no-untyped-call]
    assert rendered(PLAIN, *(Sample((), value) for value in values)) == expected


@pytest.mark.parametrize("fake", [" %r\n", " %s", "%", "%%", "%d.0", "} %r", "{0}"])
def test_no_label_value_can_look_like_a_slot(fake: str) -> None:
    for value in (1.0, 1e300, float("nan")):
        text = rendered(STATE, Sample((fake, "x"), value))
        escaped = fake.replace("\n", "\\n")
        assert text == f'ci_state{{alpha="x",project="{escaped}"}} {floatToGoString(value)}\n'  # type: ignore[no-untyped-call]


def test_an_update_with_the_same_labels_shows_the_new_values() -> None:
    old = block(STATE, [Sample(("a", "b"), 1.0), Sample(("c", "d"), 2.0)])
    assert rendered(STATE, Sample(("a", "b"), 5.0), Sample(("c", "d"), 1e9), old=old) == (
        'ci_state{alpha="b",project="a"} 5.0\nci_state{alpha="d",project="c"} 1e+09\n'
    )


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c"), ("a", None), ("a", 1), (b"a", "b")])
def test_wrong_labels_are_refused_rather_than_cut(labels: tuple[str, ...]) -> None:
    with pytest.raises(LabelMismatch):
        block(STATE, [Sample(labels, 1.0)])


@pytest.mark.parametrize("value", [None, "abc", Distribution((1,), 1.0), 10**400, object()])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        block(PLAIN, [Sample((), value)])


@pytest.mark.parametrize("value", [1.0, None, Distribution((1, 2), 1.0), Distribution((1, 2, 3, 4, 5), 1.0)])
def test_histograms_want_a_count_for_each_of_their_buckets(value: float) -> None:
    with pytest.raises((TypeError, ValueError)):
        block(TIMES, [Sample(("a", "b"), value)])


def test_the_number_of_lines_is_known_without_rendering() -> None:
    assert lines_per_sample(STATE) == 1
    made = block(TIMES, [Sample(("a", "b"), Distribution((0, 0, 0, 0), 0))] * 3)
    assert made.lines == made.text.count(b"\n") == 3 * lines_per_sample(TIMES)


def test_cleaning_replaces_lone_surrogates_and_keeps_the_first_of_equal_series() -> None:
    samples = [Sample(("a\ud800", "x"), 1.0), Sample(("b", "x"), 2.0), Sample(("a\udfff", "x"), 3.0)]
    assert cleaned(samples) == (
        [Sample(("a?", "x"), 1.0), Sample(("b", "x"), 2.0)],
        [Sample(("a?", "x"), 3.0)],
    )


def test_cleaning_refuses_labels_that_are_no_strings() -> None:
    with pytest.raises(LabelMismatch, match="must be a string"):
        cleaned([Sample(("a", 1), 1.0)])  # type: ignore[arg-type]


def test_heads_differ_by_format() -> None:
    family = counter("ci_wait_seconds_total", 'A "b" \\ \n c.', unit="seconds")
    assert head(family, Format.TEXT) == (
        b'# HELP ci_wait_seconds_total A "b" \\\\ \\n c.\n# TYPE ci_wait_seconds_total counter\n'
    )
    assert head(family, Format.OPENMETRICS) == (
        b'# HELP ci_wait_seconds A \\"b\\" \\\\ \\n c.\n# TYPE ci_wait_seconds counter\n'
        b"# UNIT ci_wait_seconds seconds\n"
    )


@given(st.lists(st.binary(), max_size=5))
def test_pieces_that_were_compressed_apart_are_one_gzip_member(parts: list[bytes]) -> None:
    plain, crc = b"".join(parts), 0
    for part in parts:
        crc = checksum(part, crc)
    body = GZIP_START + b"".join(map(deflated, parts)) + gzip_end(crc, len(plain))
    reader = zlib.decompressobj(31)
    assert reader.decompress(body) == plain
    assert reader.eof
    assert reader.unused_data == b"", "clients that stop after the first member lose nothing"
