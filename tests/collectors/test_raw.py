"""Entries of a list come back as the bytes that were sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors._raw import elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ODD = [
    b'{"b": 1.0, "a":1e2,"b":"twice"}',
    b'"\\u00e9\\/\\ud800"',
    '{ "é": [ "]", "}" , "\\"" ] }'.encode(),
    b"12345678901234567890123.50",
    b"null",
]


@pytest.mark.parametrize("comma", [b",", b" ,\n", b"\t,\r\n "])
def test_nothing_is_changed_within_an_entry(comma: bytes) -> None:
    raw = b" [ " + comma.join(ODD) + b" ]\n"
    assert elements(raw) == ODD
    assert len(json.loads(raw)) == len(ODD)


@pytest.mark.parametrize("raw", [b"[]", b" [ \n ] "])
def test_an_empty_list_has_no_entries(raw: bytes) -> None:
    assert elements(raw) == []


@pytest.mark.no_cover
@settings(max_examples=60)
@given(st.lists(VALUES), st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["utf-8", "utf-8-sig"]))
def test_what_was_written_is_found(
    values: list[object], ascii_only: bool, indent: int | None, code: str
) -> None:
    raw = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode(code, "surrogatepass")
    assert [json.loads(one) for one in elements(raw)] == values


def test_other_encodings_that_json_allows_become_utf_8() -> None:
    assert elements('["é"]'.encode("utf-16")) == ['"é"'.encode()]
