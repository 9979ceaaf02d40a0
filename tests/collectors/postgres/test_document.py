"""YAML as sql_exporter's parser takes it: what scalars are, where things stand, what is refused."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.postgres.document import Document, Items, Scalar, Table, read, resolve
from exporter.config.guards import MAX_DEPTH


def table(text: str) -> Table:
    """The mapping that *text* says, without any fault."""
    document = read(text)
    assert document.faults == []
    assert isinstance(document.root, Table)
    return document.root


def scalar(text: str) -> Scalar:
    value = table(f"a: {text}").items["a"]
    assert isinstance(value, Scalar)
    return value


def plain(value: object) -> object:
    """Texts, lists and dicts alone."""
    if isinstance(value, Table):
        return {key: plain(item) for key, item in value.items.items()}
    if isinstance(value, Items):
        return [plain(item) for item in value.items]
    assert isinstance(value, Scalar)
    return value.text


def faults(text: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for fault in read(text).faults]


# What each is was recorded from the YAML library that sql_exporter uses.
@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("", "null", None),
        ("~", "null", None),
        ("Null", "null", None),
        ("nULL", "str", None),
        ("true", "bool", True),
        ("FALSE", "bool", False),
        ("tRUE", "str", None),
        ("yes", "str", None),
        ("on", "str", None),
        ("5", "int", 5),
        ("-3", "int", -3),
        ("+3", "int", 3),
        ("0", "int", 0),
        ("010", "int", 8),
        ("0o17", "int", 15),
        ("08", "float", 8),
        ("0x10", "int", 16),
        ("-0X1f", "int", -31),
        ("0b101", "int", 5),
        ("1_000", "int", 1000),
        ("1__0", "int", 10),
        ("_1", "str", None),
        ("18446744073709551615", "int", 2.0**64),
        ("-9223372036854775808", "int", -(2.0**63)),
        ("99999999999999999999", "float", 1e20),
        ("9" * 400, "str", None),
        ("1" * 5000, "str", None),
        ("0xfffffffffffffffff", "str", None),
        ("1e3", "float", 1000),
        ("1.50", "float", 1.5),
        ("1.", "float", 1),
        (".5", "float", 0.5),
        (".5_0", "float", 0.5),
        ("._5", "str", None),
        ("2_0.5_0", "float", 20.5),
        ("1e999", "str", None),
        ("0x1p3", "str", None),
        (".inf", "float", math.inf),
        ("+.Inf", "float", math.inf),
        ("-.INF", "float", -math.inf),
        ("inf", "str", None),
        ("nan", "str", None),
        ("1:30", "str", None),
        ("2024-01-02", "str", None),
        ("-", "str", None),
        (".", "str", None),
    ],
)
def test_what_a_plain_scalar_is(text: str, kind: str, value: object) -> None:
    assert resolve(text) == (kind, value)


def test_not_a_number_is_a_number() -> None:
    kind, value = resolve(".NaN")
    assert kind == "float"
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("written", "text", "is_plain", "kind"),
    [
        ("1.50", "1.50", True, "float"),
        ("'1.50'", "1.50", False, "str"),
        ('"true"', "true", False, "str"),
        ("''", "", False, "str"),
        ("~", "~", True, "null"),
        ("", "", True, "null"),
        ("|\n  5\n", "5\n", False, "str"),
        (">\n  a\n  b", "a b", False, "str"),
        ("!!str 5", "5", False, "str"),
        ("!!str", "", False, "str"),
        ("! 5", "5", True, "int"),
        ("!!float 5", "5", False, "int"),
        ("!!float '5'", "5", False, "int"),
        ("!!null ''", "", False, "null"),
        ("x # comment", "x", True, "str"),
    ],
)
def test_a_scalar_keeps_its_text(written: str, text: str, is_plain: bool, kind: str) -> None:
    found = scalar(written)
    assert (found.text, found.plain, found.kind) == (text, is_plain, kind)


def test_keys_keep_their_order_and_lines() -> None:
    root = table("b: 1\n\na:\n  - x\n  - {c: 2,\n     d: 3}\nyes: 4\n")
    assert list(root.items) == ["b", "a", "yes"]
    assert (root.line, dict(root.lines)) == (1, {"b": 1, "a": 3, "yes": 7})
    items = root.items["a"]
    assert isinstance(items, Items)
    assert [item.line for item in items.items] == [4, 5]
    inner = items.items[1]
    assert isinstance(inner, Table)
    assert dict(inner.lines) == {"c": 5, "d": 6}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x [1]\nb: *x", {"a": ["1"], "b": ["1"]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}", {"a": {"k": "1", "l": "2"}, "b": {"k": "3", "l": "2"}}),
        ("a: &x {k: 1}\nb: {k: 3, <<: *x}", {"a": {"k": "1"}, "b": {"k": "3"}}),
        ("<<: [{k: 1}, {k: 2, l: 3}]", {"k": "1", "l": "3"}),
        ("<<: {<<: {k: 1, l: 2}, k: 3}", {"k": "3", "l": "2"}),
        ("'<<': 1", {"<<": "1"}),
        ("<<: {}\na: 1", {"a": "1"}),
    ],
)
def test_aliases_and_merges(text: str, value: object) -> None:
    assert plain(table(text)) == value


def test_a_merged_key_stands_where_it_was_written() -> None:
    inner = table("a: &x\n  k: 1\nb:\n  <<: *x\n").items["b"]
    assert isinstance(inner, Table)
    assert dict(inner.lines) == {"k": 2}


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_nothing_is_no_document(text: str) -> None:
    assert read(text) == Document()


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "a: 1\n---\n[\n", "--- {a: 1}\n...\n}}\n"])
def test_only_the_first_document_is_read(text: str) -> None:
    assert plain(table(text)) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "duplicate key, already set on line 1"),
        ("a: 1\n'a': 3", 2, "duplicate key, already set on line 1"),
        ("<<: {a: 1}\n<<: {b: 1}", 2, "duplicate key, already set on line 1"),
        ("a:\n\t- b", 2, "not valid YAML: a tab is not allowed in the indentation; use spaces"),
        ("a: 1\n[b]: 2", 2, "a key must be plain text"),
        ("a: !foo b", 1, "tags (!…) are not allowed; put the value in quotes if it begins with !"),
        ("a: !!binary eA==", 1, "tags (!…) are not allowed; put the value in quotes if it begins with !"),
        ("a: 1\nb: !foo [b]", 2, "tags (!…) are not allowed"),
        ("a: !!int x", 1, "the value does not fit its tag"),
        ("a: !!int 1.5", 1, "the value does not fit its tag"),
        ("a: 1\n<<: 5", 2, "<<: takes another mapping, or a list of mappings"),
        ("a: &x\n  - *x", 1, "an alias must not contain itself"),
        ("a: &x {<<: *x}", 1, "an alias must not contain itself"),
        ("a: &x {<<: [*x]}", 1, "an alias must not contain itself"),
        ("a: 1\nb: \x07", 2, "the control character U+0007 is not allowed"),
        ("a: [" * 50, 1, f"nested more than {MAX_DEPTH} levels deep"),
    ],
)
def test_what_is_refused(text: str, line: int, message: str) -> None:
    assert faults(text) == [(line, message)]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [", 1), ("a: b: c", 1), ("a: 1\n  b: 2", 2), ("x: 1\na: *b", 2), ("a: 'b\n\n", 3), ("a: @b", 1)],
)
def test_bad_yaml_has_a_line(text: str, line: int) -> None:
    (found,) = read(text).faults
    assert found.message.startswith("not valid YAML: ")
    assert abs(found.line - line) <= 1
    assert read(text).root is None


def laughs(step: str) -> str:
    lines = ["a0: &a0 " + ("{k: x}" if step == "<<: [{}]" else "[x]")]
    for level in range(1, 25):
        before = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + ("{<<: [" + before + "]}" if "<<" in step else f"[{before}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("step", ["[]", "<<: [{}]"])
def test_a_billion_laughs_end_soon(step: str) -> None:
    begun = time.monotonic()
    (found,) = faults(laughs(step))
    assert time.monotonic() - begun < 60
    assert found[1].startswith(("more than 100000 values", "nested more than"))


def test_aliases_may_not_nest_too_deep_either() -> None:
    chain = ["a0: &a0 [x]", *(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 60))]
    assert faults("\n".join(chain))[0][1] == f"nested more than {MAX_DEPTH} levels deep"


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*<>!|'\"#,? \n\t~%@0"), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    document = read(text)
    assert all(fault.line >= 1 for fault in document.faults)
