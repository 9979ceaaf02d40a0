"""What pydantic finds, in plain sentences."""

from datetime import date
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr, StringConstraints

from exporter.config.load import load
from exporter.contract import CollectorConfig
from exporter.errors import ConfigError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Plain(CollectorConfig):
    colour: Colour = Colour.RED
    number: Literal[1, 2] = 1
    day: date | None = None
    host: IPv4Address | None = None
    names: list[Annotated[str, StringConstraints(min_length=2, max_length=3, pattern="^[a-z]+$")]] = Field(
        default=[]
    )
    few: Annotated[list[int], Field(min_length=1, max_length=2)] = Field(default=[1])
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    pairs: dict[str, int] = Field(default={})
    either: int | list[int] = 1
    where: Path | None = None
    tags: set[str] = Field(default=set())


class Guarded(Plain):
    key: SecretStr | None = None


def _said(block, name="plain"):
    with pytest.raises(ConfigError) as caught:
        load(
            None,
            models={"plain": Plain, "guarded": Guarded},
            env={},
            overrides={f"collectors.{name}.{key}": value for key, value in block.items()},
        )
    start = f"command line: collectors.{name}."
    return [str(problem).removeprefix(start) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("colour", "green", "colour: must be one of: red, blue (got 'green')"),
        ("colour", "[x]", "colour: must be one of: red, blue (got '[x]')"),
        ("number", 3, "number: must be one of: 1, 2 (got 3)"),
        ("names", ["abcd"], "names.0: must have at most 3 characters (got 'abcd')"),
        ("names", ["a"], "names.0: must have at least 2 characters (got 'a')"),
        ("names", ["AB"], "names.0: must match the pattern ^[a-z]+$ (got 'AB')"),
        ("few", [], "few: must have at least 1 in the list"),
        ("few", [1, 2, 3], "few: must have at most 2 in the list"),
        ("share", 0, "share: must be greater than 0 (got 0)"),
        ("share", 1, "share: must be less than 1 (got 1)"),
        ("share", "inf", "share: must be a finite number (got 'inf')"),
        ("share", True, "share: must be less than 1 (got true)"),
        ("pairs", {"a": "x"}, "pairs.a: must be a whole number (got 'x')"),
        ("pairs", [1], "pairs: must be a mapping (key: value)"),
        ("either", "x", "either: must be a whole number or a list, such as [a, b] (got 'x')"),
        ("either", ["x"], "either.0: must be a whole number (got 'x')"),
        ("where", 5, "where: must be the path of a file (got 5)"),
        ("tags", "x" * 100, "tags: must be a list, such as [a, b]"),
        ("enabled", "maybe", "enabled: must be true or false (got 'maybe')"),
        ("enabled", [None], "enabled: must be true or false"),
    ],
)
def test_what_is_wrong_and_what_is_allowed(key, value, message):
    assert _said({key: value}) == [message]


def test_what_has_no_sentence_of_ours_is_at_least_no_riddle():
    first, second = _said({"day": "hunter22", "host": "hunter22"})
    assert first.startswith("day: must be a valid date")
    assert second.startswith("host: ")
    assert "Input should" not in first + second


def test_beside_a_secret_it_says_less():
    assert _said({"day": "hunter22", "host": "hunter22", "colour": "hunter22"}, "guarded") == [
        "colour: must be one of: red, blue",
        "day: is not valid",
        "host: is not valid",
    ]
