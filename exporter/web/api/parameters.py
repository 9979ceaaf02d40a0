"""The parameters of questions: what they are called, what they may be, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from exporter.errors import ExporterError
from exporter.model.history import JobOrder, SortKey, Wanted
from exporter.model.runs import RefKind, Status
from exporter.web.api.times import INSTANT, INSTANT_PATTERN, LENGTH, LENGTH_PATTERN, read_instant, read_length

MOST_ROWS = 1000
MOST_VALUES = 200
MOST_FIELDS = 1000
LONGEST_VALUE = 255
MOST_GLOBS = 20
MOST_STARS = 10

Schema = Mapping[str, Any]
Values = Mapping[str, Any]
_WILD = frozenset("*?[")
_STARS = re.compile(r"\*{2,}")


class BadParameter(ExporterError):
    """A question that cannot be asked so; the text names the parameter and what is allowed."""


def _as_is(text: str, _now: datetime) -> Any:
    return text


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query; ``read`` gives its value, or raises a ValueError that says what is allowed.

    One with ``many`` values may be repeated, and a value may be several with commas between them: it is
    read as a tuple, which is empty without it. Others without ``default`` are read as ``None``.
    """

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string", "maxLength": LONGEST_VALUE})
    read: Callable[[str, datetime], Any] = _as_is
    default: str | None = None
    many: bool = False

    def value(self, written: Sequence[str], now: datetime) -> Any:
        """What *written* means; an empty text is no value.

        Raises:
            BadParameter: it means nothing.
        """
        texts = [text for text in written if text]
        if self.many:
            texts = [part for text in texts for part in _parts(text)]
        elif len(texts) > 1:
            raise BadParameter(f"{self.name}: may be given once")
        if len(texts) > MOST_VALUES:
            raise BadParameter(f"{self.name}: at most {MOST_VALUES} values may be given")
        if not texts and self.default is not None:
            texts = [self.default]
        if self.read is _glob and sum(not _WILD.isdisjoint(text) for text in texts) > MOST_GLOBS:
            raise BadParameter(f"{self.name}: at most {MOST_GLOBS} values with *, ? or [ may be given")
        values = tuple(self._one(text, now) for text in texts)
        return values if self.many else values[0] if values else None

    def _one(self, text: str, now: datetime) -> Any:
        if len(text) > LONGEST_VALUE or "\0" in text:
            raise BadParameter(f"{self.name}: must be at most {LONGEST_VALUE} characters, none of them NUL")
        try:
            return self.read(text, now)
        except ValueError as error:
            raise BadParameter(f"{self.name}: {error}") from None


def _parts(text: str) -> list[str]:
    """The values in *text*: with commas between them, and in the braces that Grafana puts around several."""
    inner = text[1:-1] if text[0] == "{" and text[-1] == "}" else text
    return [part for part in inner.split(",") if part]


def read_query(parameters: Sequence[Parameter], query: str, now: datetime) -> Values:
    """``name -> value`` of all *parameters*.

    Raises:
        BadParameter: one of them is wrong, or another one is there.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadParameter(f"the query: at most {MOST_FIELDS} parameters may be given") from None
    written: dict[str, list[str]] = {parameter.name: [] for parameter in parameters}
    for name, text in pairs:
        if name not in written:
            allowed = ", ".join(written) or "none"
            raise BadParameter(f"{name[:40]!a}: there is no such parameter here; allowed: {allowed}")
        written[name].append(text)
    values = {one.name: one.value(written[one.name], now) for one in parameters}
    since, until = values.get("from"), values.get("to")
    if since and until and since >= until:
        raise BadParameter("from: must be before to")
    return values


# -- what values may be


def _word(words: type[StrEnum]) -> Callable[[str, datetime], StrEnum]:
    def read(text: str, _now: datetime) -> StrEnum:
        if text not in list(words):
            raise ValueError(f"must be one of {', '.join(words)}")
        return words(text)

    return read


def _words(words: type[StrEnum]) -> Schema:
    return {"type": "string", "enum": [word.value for word in words]}


def _glob(text: str, _now: datetime) -> str:
    """The glob in its shortest form: many stars are much work for whoever matches, and mean no more."""
    shortest = _STARS.sub("*", text)
    if shortest.count("*") > MOST_STARS:
        raise ValueError(f"a pattern may hold at most {MOST_STARS} stars")
    return shortest


def _limit(text: str, _now: datetime) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= number <= MOST_ROWS:
        raise ValueError(f"must be a whole number from 1 to {MOST_ROWS}")
    return number


def _default_branch(text: str, _now: datetime) -> bool:
    if text != "default":
        raise ValueError("must be default, or left out")
    return True


SORTS = {f"{sign}{key}": (key, bool(sign)) for key in SortKey for sign in ("", "-")}


def _sort(text: str, _now: datetime) -> tuple[SortKey, bool]:
    if text not in SORTS:
        raise ValueError(f"must be one of {', '.join(SORTS)}")
    return SORTS[text]


def _format(text: str, _now: datetime) -> str:
    if text not in ("json", "csv"):
        raise ValueError("must be json or csv")
    return text


# -- the parameters


def instants(since: str | None = None, until: str | None = None) -> tuple[Parameter, ...]:
    """``from`` and ``to``, with what they are when they are left out."""
    examples = ["now-7d", "2026-03-01T12:00:00Z", "1772366400000"]
    schema: Schema = {"type": "string", "pattern": INSTANT_PATTERN, "examples": examples}
    return (
        Parameter("from", f"Runs created at this time or later: {INSTANT}.", schema, read_instant, since),
        Parameter("to", "Runs created before this time, in the same forms.", schema, read_instant, until),
    )


def globs(name: str, description: str, default: str | None = None) -> Parameter:
    """A parameter of patterns."""
    schema = {"type": "string", "maxLength": LONGEST_VALUE}
    told = f"{description}; * stands for any characters, ? for one (also a comma), [ab] for one of these."
    return Parameter(name, told, schema, _glob, default, many=True)


PROJECT = globs("project", "Full paths of projects")
PROVIDER = Parameter("provider", "Kinds of sources, as in the label provider.", many=True)
FILTERS = (
    PROJECT,
    globs("ref", "Branches, tags or change requests"),
    Parameter("status", "Statuses of runs.", _words(Status), _word(Status), many=True),
    Parameter("source", "What triggered the run, as in the label source.", many=True),
    PROVIDER,
    Parameter("ref_kind", "What runs were for.", _words(RefKind), _word(RefKind), many=True),
    Parameter(
        "branch",
        "default: only runs of the default branch of each project.",
        {"type": "string", "enum": ["default"]},
        _default_branch,
    ),
)
LIMIT = Parameter(
    "limit",
    f"How many at most, 1 to {MOST_ROWS}.",
    {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
    _limit,
    "100",
)
SORT = Parameter(
    "sort",
    "What comes first: the smallest, and with - the largest; runs without a value come last.",
    {"type": "string", "enum": list(SORTS)},
    _sort,
    "-created_at",
)
AFTER = Parameter("after", "Where the next page begins: copy it from the Link header of the page before.")
STEP = Parameter(
    "step",
    f"Length of one step: {LENGTH}.",
    {"type": "string", "pattern": LENGTH_PATTERN, "examples": ["1h", "300"]},
    lambda text, _now: read_length(text),
    "1h",
)
ORDER = Parameter(
    "order", "Which jobs come first.", _words(JobOrder), _word(JobOrder), JobOrder.SLOWEST.value
)
FORMAT = Parameter(
    "format",
    "Form of the answer; without it the Accept header decides.",
    {"type": "string", "enum": ["json", "csv"]},
    _format,
)


def wanted(values: Values) -> Wanted:
    """The runs that *values* ask about."""
    return Wanted(
        since=values["from"],
        until=values["to"],
        providers=values.get("provider", ()),
        projects=values.get("project", ()),
        refs=values.get("ref", ()),
        ref_kinds=values.get("ref_kind", ()),
        statuses=values.get("status", ()),
        sources=values.get("source", ()),
        default_branch_only=values.get("branch") or False,
    )
