"""References to the environment inside values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.expand import expand

ENV = {"A": "one", "EMPTY": "", "NESTED": "${A} $$ ${NOPE}"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NOPE:-}", ""),
        ("${NOPE:-a b:-c}", "a b:-c"),
        ("${A:-default}", "one"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("^(main|master)$", "^(main|master)$"),
        ("$A", "$A"),
        ("${NESTED}", "${A} $$ ${NOPE}"),
        ("${NOPE:-$$}", "$$"),
    ],
)
def test_references_are_replaced_once(text, result):
    assert expand(text, ENV) == (result, [])


def test_an_unset_variable_is_named():
    assert expand("a ${NOPE} ${ALSO}", ENV)[1] == [
        "the environment variable NOPE is not set; ${NOPE:-default} would allow that",
        "the environment variable ALSO is not set; ${ALSO:-default} would allow that",
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A-x}", "${A B}", "${é}"])
def test_a_broken_reference_is_refused_without_showing_the_text(text):
    assert expand(text, ENV)[1] == ["${ begins no ${NAME} or ${NAME:-default}; write $${ for the text itself"]


@given(st.text())
def test_doubling_every_dollar_keeps_any_text(text):
    assert expand(text.replace("$", "$$"), {}) == (text, [])
