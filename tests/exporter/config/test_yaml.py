"""Strict YAML: what is read, what is refused, and on which line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.guards import MAX_DEPTH, Fault
from exporter.config.yaml import read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("'yes'", "yes"),
        ('"NO"', "NO"),
        ("y", "y"),
        ("~", None),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0x1f", 31),
        ("'010'", "010"),
        ("0o10", "0o10"),
        ("1_000", "1_000"),
        ("0.5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("12:30:45.5", "12:30:45.5"),
        ("2026-11-21", "2026-11-21"),
        ("=", "="),
        ("!!str no", "no"),
        ("!!str 010", "010"),
        ("!!int 3", 3),
        ("|\n  yes\n  no", "yes\nno"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text, value):
    document = read(f"a: {text}")
    assert document.faults == []
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


@pytest.mark.parametrize(
    "word", ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"]
)
def test_a_word_that_yaml_1_1_takes_for_a_bool_is_refused(word):
    assert read(f"b: 1\na: {word}").faults == [
        Fault(("a",), 2, f"{word} is ambiguous: write true or false, or put it in quotes if it is text")
    ]


@pytest.mark.parametrize("number", ["010", "00", "-07", "0123456", "08", "0_1"])
def test_a_number_that_may_be_octal_is_refused_without_showing_it(number):
    assert read(f"a:\n  - {number}").faults == [
        Fault(("a", 0), 2, "a number must not begin with 0: put it in quotes if it is text")
    ]


def test_a_key_is_always_text():
    document = read("on: 1\n5432: 2\nnull: 3\nyes: 4\n1:30: 5")
    assert document.faults == []
    assert document.value == {"on": 1, "5432": 2, "null": 3, "yes": 4, "1:30": 5}


def test_a_duplicate_key_is_refused_and_the_first_one_kept():
    document = read("a: 1\nb:\n  c: 2\n  c: 3\na: 4\n")
    assert document.value == {"a": 1, "b": {"c": 2}}
    assert document.faults == [
        Fault(("b", "c"), 4, "duplicate key, already set on line 3"),
        Fault(("a",), 5, "duplicate key, already set on line 1"),
    ]


def test_every_key_and_item_has_its_line():
    assert read("# top\na:\n  - x\n  -\n    b: 1\nc: {d: 2,\n    e: 3}\n").lines == {
        ("a",): 2,
        ("a", 0): 3,
        ("a", 1): 5,
        ("a", 1, "b"): 5,
        ("c",): 6,
        ("c", "d"): 6,
        ("c", "e"): 7,
    }


def test_a_merge_takes_what_is_not_set():
    document = read("a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  b: 5\ne: {<<: [*a, {c: 8, z: 9}]}")
    assert document.faults == []
    assert document.value["d"] == {"b": 5, "c": 2}
    assert document.value["e"] == {"b": 1, "c": 2, "z": 9}
    assert document.lines["d", "c"] == 1


@pytest.mark.parametrize("source", ["3", "[1]", "*x"])
def test_a_merge_of_something_else_is_refused(source):
    document = read(f"a: &x {{<<: {source}}}")
    assert document.faults == [Fault(("a",), 1, "<<: takes another mapping, or a list of mappings")]


def test_an_alias_that_contains_itself_is_refused():
    assert read("a: &x\n  - *x").faults == [Fault(("a", 0), 1, "an alias must not contain itself")]


def _bomb(line):
    return "a0: &a0 {k: x}\n" + "".join(
        line.format(i=i, inner=", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 12)
    )


@pytest.mark.parametrize("line", ["a{i}: &a{i} [{inner}]\n", "a{i}: &a{i} {{<<: [{inner}]}}\n"])
def test_a_bomb_of_aliases_is_refused(line):
    (fault,) = read(_bomb(line)).faults
    assert fault.message == "more than 100000 values, counting each use of an alias"


@pytest.mark.parametrize("line", ["a{i}: &a{i} [*a{j}]\n", "a{i}: &a{i} {{<<: *a{j}}}\n"])
def test_a_chain_of_aliases_is_only_so_deep(line):
    text = "a0: &a0 {}\n" + "".join(line.format(i=i, j=i - 1) for i in range(1, 5000))
    (fault,) = read(text).faults
    assert fault.message == "nested more than 32 levels deep"


@pytest.mark.parametrize("text", ["[" * 200_000, "a: " + "{b: " * 50_000, "- " * 50_000])
def test_endless_nesting_is_refused_before_the_composer_overflows(text):
    document = read(text)
    assert document.broken
    assert document.faults == [Fault((), 1, f"nested more than {MAX_DEPTH} levels deep")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a:\n\tb: 1", 2, "not valid YAML: a tab is not allowed in the indentation; use spaces"),
        ("a: [1\nb: 2", 2, "not valid YAML: did not find expected ',' or ']'"),
        (
            "a: [${X}]",
            1,
            "not valid YAML: did not find expected ',' or ']' (inside [ ] and { }, put ${…} in quotes)",
        ),
        ("a: 1\n---\nb: 2", 2, "not valid YAML: a second document begins; only one is allowed"),
        ("a: *none", 1, "not valid YAML: found undefined alias (put the value in quotes if it is text)"),
        (
            "a: @x",
            1,
            "not valid YAML: found character that cannot start any token "
            "(put the value in quotes if it is text)",
        ),
        ("a: b: c", 1, "not valid YAML: mapping values are not allowed in this context"),
        ("ok: 1\na: \x01", 2, "the control character U+0001 is not allowed"),
    ],
)
def test_text_that_is_no_yaml_is_refused_with_its_line(text, line, message):
    document = read(text)
    assert document.broken
    assert document.faults == [Fault((), line, message)]


def test_the_slower_parser_of_pyyaml_quotes_no_secret(monkeypatch):
    class Pure(yaml.SafeLoader):
        pass

    monkeypatch.setattr("exporter.config.yaml._Loader", Pure)
    for text in ("a: *hunter22", "a: !hunter22!x y", "a: &hunter22 1\nb: *hunter23"):
        assert "hunter2" not in str(read(text).faults)


@pytest.mark.parametrize(
    "value", ["!secret x", "!!python/object:os.system x", "!!binary aGk=", "!x [1]", "!!set {a}"]
)
def test_tags_are_refused(value):
    (fault,) = read(f"a: {value}").faults
    assert fault.loc == ("a",)
    assert fault.message.startswith("tags (!…) are not allowed")


@pytest.mark.parametrize("value", ["!!int x", "!!float x", "!!bool x"])
def test_a_value_that_does_not_fit_its_tag_is_refused(value):
    assert read(f"a: {value}").faults == [Fault(("a",), 1, "the value does not fit its tag")]


def test_a_key_that_is_no_text_is_refused():
    assert read("? [1]\n: 2").faults == [Fault((), 1, "a key must be plain text")]


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!|>'\"%@`#, \n\t?0y~<$.=")), max_size=60))
def test_reading_never_raises(text):
    read(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(alphabet="abcyn01:.-_ éñ", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abno1", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_what_is_dumped_with_quotes_comes_back_unchanged(value):
    document = read(yaml.safe_dump({"a": value}, default_style='"', allow_unicode=True))
    assert [fault for fault in document.faults if "tag" not in fault.message] == []
    assert document.value == {"a": value}
