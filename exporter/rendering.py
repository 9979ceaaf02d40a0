"""Rendering: the samples of one entity in one family as lines of the text formats."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from operator import itemgetter
from typing import Any

from prometheus_client.utils import floatToGoString

from exporter.errors import LabelMismatch
from exporter.families import Distribution, Family, Labels, Sample, Stamped, clean

deflate: Any
try:
    from isal import isal_zlib as deflate
except ImportError:  # the extra `fast` is not installed
    deflate = zlib

GZIP_START = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # deflate, no name, no time, fastest, any system
_STAMP = re.compile(rb" ([0-9-]+)$", re.MULTILINE)
_labels_of: Callable[[Sample], Labels] = itemgetter(0)


class Format(Enum):
    """A text format that Prometheus reads, with its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def deflated(data: bytes) -> bytes:
    """*data* compressed by itself, so that what is compressed elsewhere may follow: see `gzip_end`."""
    compressor = deflate.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return bytes(compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH))


def checksum(data: bytes, before: int = 0) -> int:
    """The CRC-32 of *data*, going on from that of what stands before it."""
    return int(deflate.crc32(data, before))


def gzip_end(crc: int, size: int) -> bytes:
    """What ends a gzip body of `GZIP_START` and :func:`deflated` pieces, from the plain text's CRC and size.

    One body rather than several gzip members in a row, which would need no checksum over all: several
    HTTP clients lose what comes after the first member.
    """
    return b"\x03\x00" + struct.pack("<LL", crc, size & 0xFFFFFFFF)


def _go_string(value: float) -> str:
    """prometheus_client's own way to write any number."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def head(family: Family, form: Format) -> bytes:
    """The HELP, TYPE and UNIT lines of *family*."""
    help_ = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if form is Format.TEXT:
        name = family.exposed_name
        return f"# HELP {name} {help_}\n# TYPE {name} {family.kind}\n".encode()
    help_ = help_.replace('"', r"\"")
    unit = f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
    return f"# HELP {family.name} {help_}\n# TYPE {family.name} {family.openmetrics_kind}\n{unit}".encode()


@lru_cache(maxsize=4096)
def deflated_head(family: Family, form: Format) -> bytes:
    """:func:`head`, compressed."""
    return deflated(head(family, form))


class Block:
    """The samples of one entity in one family, as data and as text.

    What stands between the numbers is kept as a template: as long as the label sets stay the same, an
    update formats numbers only, which is what makes a complete re-render cheap. In the template every
    other string is empty, and is where a number goes.
    """

    __slots__ = ("labels", "lines", "template", "text", "values")

    def __init__(
        self,
        family: Family,
        labels: tuple[Labels, ...],
        values: tuple[Any, ...],
        template: list[str] | None = None,
    ) -> None:
        """*template* is that of another block of this family with the same *labels*, if there is one."""
        self.labels = labels
        self.values = values
        self.template = _template(family, labels) if template is None else template
        self.lines = len(labels) * lines_per_sample(family)
        if family.stamped:
            self.text = _filled_stamped(self.template, values)
        else:
            self.text = _filled(self.template, _numbers(family, values))

    @property
    def samples(self) -> list[Sample]:
        """What it was made from."""
        return list(map(Sample, self.labels, self.values))


def _filled(template: list[str], numbers: list[float]) -> bytes:
    """*template* with its numbers.

    Python writes all but huge and special numbers as Go does, and does so fastest.
    """
    pieces = template.copy()
    plain = max(numbers) < 1e6 and isfinite(sum(numbers))
    pieces[1::2] = map(repr if plain else _go_string, numbers)
    return "".join(pieces).encode()


def _filled_stamped(template: list[str], values: tuple[Stamped | float, ...]) -> bytes:
    """*template* with values and their times in milliseconds, as the text format writes them."""
    pieces = template.copy()
    pieces[1::2] = [
        f"{_go_string(one.value)} {one.milliseconds:d}" if isinstance(one, Stamped) else _go_string(one)
        for one in values
    ]
    return "".join(pieces).encode()


def in_seconds(text: bytes) -> bytes:
    """*text* of a stamped family as OpenMetrics writes it: times in seconds.

    No value looks like a time: all have a dot, an exponent or letters.
    """
    return _STAMP.sub(lambda found: f" {int(found[1]) / 1000}".encode(), text)


def lines_per_sample(family: Family) -> int:
    """How many series one sample is: a histogram has its buckets, +Inf, count and sum."""
    return len(family.buckets) + 3 if family.kind == "histogram" else 1


def _numbers(family: Family, values: tuple[Any, ...]) -> list[float]:
    """The numbers for the slots of the template, in order."""
    if family.kind != "histogram":
        return list(map(float, values))
    numbers: list[float] = []
    for counts, total in values:
        if len(counts) != len(family.buckets) + 1:
            raise ValueError(
                f"{family.name} has {len(family.buckets)} buckets and +Inf, got {len(counts)} counts"
            )
        numbers.extend(map(float, accumulate(counts)))
        numbers.append(numbers[-1])
        numbers.append(float(total))
    return numbers


def histogram_values(family: Family, sample: Sample) -> Iterator[tuple[str, float]]:
    """``(le, cumulative count)`` of each bucket, then ``("", count)`` and ``("", sum)``."""
    distribution = sample.value
    if not isinstance(distribution, Distribution):
        raise TypeError(f"{family.name} is a histogram; its samples need a Distribution")
    cumulative = 0
    for bound, count in zip((*family.buckets, float("inf")), distribution.counts, strict=True):
        cumulative += count
        yield _go_string(bound), float(cumulative)
    yield "", float(cumulative)
    yield "", distribution.sum


def _template(family: Family, labels: tuple[Labels, ...]) -> list[str]:
    """The lines in pieces; label names sorted, as prometheus_client does.

    Raises:
        LabelMismatch: a sample has more or fewer labels than its family, or one that is no string.
    """
    allowed = (str, type(None)) if family.sparse else str
    for values in labels:
        # Surplus labels would be cut, and a sample shown under the name of another one.
        if len(values) != len(family.labels) or not all(isinstance(value, allowed) for value in values):
            raise LabelMismatch(f"{family.name} takes the labels {family.labels}, got the values {values!r}")
    order = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    if family.kind == "histogram":
        series = [name for values in labels for name in _histogram_series(family, values, order)]
    else:
        name = family.exposed_name
        series = [f"{name}{_label_text(family, values, order)}" for values in labels]
    template = [""] * (2 * len(series) + 1)
    template[::2] = [f"\n{one} " for one in series] + ["\n"]
    template[0] = template[0].removeprefix("\n")
    return template


def _pairs(family: Family, values: Labels, order: Iterable[int]) -> list[tuple[str, str]]:
    """``(label, its text)`` in *order*, without what is left out."""
    return [
        (family.labels[index], f'{family.labels[index]}="{escaped(value)}"')
        for index in order
        if (value := values[index]) is not None
    ]


def _label_text(family: Family, values: Labels, order: Iterable[int]) -> str:
    """``{a="x",b="y"}``, escaped; empty without labels."""
    pairs = ",".join(text for _, text in _pairs(family, values, order))
    return f"{{{pairs}}}" if pairs else ""


def _histogram_series(family: Family, values: Labels, order: Sequence[int]) -> list[str]:
    """The series of one histogram: buckets, count, sum; `le` stands where sorting puts it."""
    pairs = _pairs(family, values, order)
    before = "".join(f"{text}," for label, text in pairs if label < "le")
    after = "".join(f",{text}" for label, text in pairs if label > "le")
    bounds = [_go_string(bound) for bound in (*family.buckets, float("inf"))]
    buckets = [f'{family.name}_bucket{{{before}le="{bound}"{after}}}' for bound in bounds]
    labels = _label_text(family, values, order)
    return [*buckets, f"{family.name}_count{labels}", f"{family.name}_sum{labels}"]


def escaped(value: str) -> str:
    """A label value as it stands between the quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def cleaned(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """*samples* with label values that can be written, each series once, and those that repeat one.

    The first of equals stays: Prometheus refuses a series that comes twice. An empty label is to it one
    that is left out.
    """
    found = list(map(_cleaned, samples))
    series = list(map(_labels_of, found))
    if any(None in labels for labels in series):
        series = [tuple(label or None for label in labels) for labels in series]
    if len(set(series)) == len(found):
        return found, []
    once: dict[Labels, Sample] = {}
    repeated = []
    for labels, sample in zip(series, found, strict=True):
        if labels in once:
            repeated.append(sample)
        else:
            once[labels] = sample
    return list(once.values()), repeated


def _cleaned(sample: Sample) -> Sample:
    """*sample* with label values that can be written; almost always the same object."""
    try:
        if "".join([label for label in sample.labels if label is not None]).isascii():
            return sample
    except TypeError:
        raise LabelMismatch(f"every label value must be a string, got {sample.labels!r}") from None
    return Sample(tuple(label and clean(label) for label in sample.labels), sample.value)
