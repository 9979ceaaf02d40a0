"""What a scraper asked for: format and coding by RFC 9110 weights, and the filters of the query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from exporter.errors import ExporterError
from exporter.rendering import Format

MOST_NAMES = 1000

_TYPES = {Format.TEXT: ("text", "plain"), Format.OPENMETRICS: ("application", "openmetrics-text")}
# How well a version suits: the one we write beats one that the same parser reads, beats none at all.
_VERSIONS = {
    Format.TEXT: {"0.0.4": 4, "1.0.0": 3, None: 2},
    Format.OPENMETRICS: {"1.0.0": 4, None: 2},
}


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of an ``Accept`` header; ``version`` is ``None`` when it names none."""

    type: str
    subtype: str
    version: str | None
    weight: float


@dataclass(frozen=True, slots=True)
class Filters:
    """The ``name[]`` and ``collect[]`` of a query, in its order; an empty tuple means all."""

    names: tuple[str, ...]
    collectors: tuple[str, ...]


def negotiate(accept: str) -> Format:
    """The format to answer *accept* with; text 0.0.4 when it asks for neither, or cannot be read.

    Among equal weights the more exactly named format wins, then the one named first.
    """
    ranges = list(_ranges(accept))
    weighed = [(_match(offered, ranges), offered) for offered in Format]
    acceptable = [(match, offered) for match, offered in weighed if match[0] > 0]
    # max() keeps the first of equals, and text is the first of the formats.
    return max(acceptable, key=lambda pair: pair[0], default=(None, Format.TEXT))[1]


def _match(offered: Format, ranges: list[_Range]) -> tuple[float, int, int]:
    """Weight, exactness and earliness of the range that decides about *offered*: the most exact one."""
    found = (0.0, -1, 0)
    for position, one in enumerate(ranges):
        exactness = _exactness(offered, one)
        if exactness > found[1]:
            found = (one.weight, exactness, -position)
    return found


def _exactness(offered: Format, one: _Range) -> int:
    """How exactly *one* names *offered*, -1 when it does not cover it."""
    if (one.type, one.subtype) == ("*", "*"):
        return 0
    if one.type != _TYPES[offered][0]:
        return -1
    if one.subtype == "*":
        return 1
    return _VERSIONS[offered].get(one.version, -1) if one.subtype == _TYPES[offered][1] else -1


def prefers(accept: str, one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether *accept* would rather have media type *one* than *other*."""
    ranges = list(_ranges(accept))
    return _weight_of(one, ranges) > _weight_of(other, ranges)


def _weight_of(kind: tuple[str, str], ranges: list[_Range]) -> float:
    """The weight in the most exact of *ranges* that covers *kind*, 0 when none does."""
    for covers in (kind, (kind[0], "*"), ("*", "*")):
        for one in ranges:
            if (one.type, one.subtype) == covers:
                return one.weight
    return 0.0


def _ranges(accept: str) -> Iterator[_Range]:
    for element in accept.split(","):
        value, parameters = _element(element)
        kind, slash, subtype = value.partition("/")
        weight = _weight(parameters.get("q"))
        if slash and weight is not None:
            yield _Range(kind.strip(), subtype.strip(), parameters.get("version"), weight)


def _element(element: str) -> tuple[str, dict[str, str]]:
    """One list element in lower case: its value and its parameters."""
    value, *rest = element.lower().split(";")
    parameters: dict[str, str] = {}
    for parameter in rest:
        name, _, content = parameter.partition("=")
        parameters.setdefault(name.strip(), content.strip().strip('"'))
    return value.strip(), parameters


def _weight(text: str | None) -> float | None:
    """The weight from 0 to 1 that *text* stands for, 1 when absent, ``None`` when it is not a weight."""
    if text is None:
        return 1.0
    # float() alone would also read "nan", "1e-1" and digits of other scripts.
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 16:
        return None
    weight = float(text)
    return weight if weight <= 1.0 else None


def wants_gzip(accept_encoding: str) -> bool:
    """Whether the client reads gzip, and does not rather have it plain."""
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        value, parameters = _element(element)
        weight = _weight(parameters.get("q"))
        if value and weight is not None:
            weights.setdefault(value, weight)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def read_filters(query: str) -> Filters:
    """The filters in *query*; other parameters are ignored.

    Raises:
        ExporterError: more than 1,000 names.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    names = tuple(value for key, value in pairs if key == "name[]")
    if len(names) > MOST_NAMES:
        raise ExporterError(f"at most {MOST_NAMES} names may be asked for with name[]")
    return Filters(names, tuple(value for key, value in pairs if key == "collect[]"))
