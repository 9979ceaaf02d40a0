"""Rendering: the samples of one entity in one family as lines of the text formats."""

from __future__ import annotations

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
from exporter.families import Distribution, Family, Sample, clean

deflate: Any
try:
    from isal import isal_zlib as deflate
except ImportError:  # the extra `fast` is not installed
    deflate = zlib

# Slots of a template: a number as it is, and a whole one. Label values double their `%` and escape
# their line ends, so no label can look like a slot.
_SLOT = " %r\n"
_COUNT_SLOT = " %d.0\n"
_GZIP = 16 + zlib.MAX_WBITS
_labels_of: Callable[[Sample], tuple[str, ...]] = itemgetter(0)
_value_of: Callable[[Sample], Any] = itemgetter(1)


class Format(Enum):
    """A text format that Prometheus reads, with its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def gzip_member(data: bytes) -> bytes:
    """*data* as one gzip member; several of them in a row are a valid gzip body."""
    compressor = deflate.compressobj(1, zlib.DEFLATED, _GZIP)
    return bytes(compressor.compress(data) + compressor.flush())


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
    return f"# HELP {family.name} {help_}\n# TYPE {family.name} {family.kind}\n{unit}".encode()


@lru_cache(maxsize=4096)
def gzip_head(family: Family, form: Format) -> bytes:
    """:func:`head` as a gzip member."""
    return gzip_member(head(family, form))


class Block:
    """The samples of one entity in one family, as data and as text.

    The text is kept as a template with a slot per number: as long as the label sets stay the same, an
    update formats numbers only, which is what makes a complete re-render cheap.
    """

    __slots__ = ("_template", "lines", "samples", "text")

    def __init__(self, family: Family, samples: Sequence[Sample], old: Block | None) -> None:
        self.samples = samples
        self._template: str
        if old is not None and _same_labels(samples, old.samples):
            self._template = old._template
        else:
            self._template = _template(family, samples)
        self.lines = len(samples) * lines_per_sample(family)
        self.text = _filled(self._template, _numbers(family, samples)).encode()


def _same_labels(samples: Sequence[Sample], others: Sequence[Sample]) -> bool:
    """Whether both have the same series in the same order."""
    return list(map(_labels_of, samples)) == list(map(_labels_of, others))


def _filled(template: str, numbers: list[float]) -> str:
    """*template* with its slots filled.

    Python writes all but huge and special numbers as Go does, and does so fastest inside the
    template; the rest are written one by one.
    """
    if max(numbers) < 1e6 and min(numbers) > -1e300 and isfinite(sum(numbers)):
        return template % tuple(numbers)
    return template.replace(_COUNT_SLOT, " %s\n").replace(_SLOT, " %s\n") % tuple(map(_go_string, numbers))


def lines_per_sample(family: Family) -> int:
    """How many series one sample is: a histogram has its buckets, +Inf, count and sum."""
    return len(family.buckets) + 3 if family.kind == "histogram" else 1


def _numbers(family: Family, samples: Sequence[Sample]) -> list[float]:
    """The numbers for the slots of the template, in order."""
    if family.kind != "histogram":
        return list(map(float, map(_value_of, samples)))
    numbers: list[float] = []
    for _, distribution in samples:
        counts, total = distribution  # type: ignore[misc]
        if len(counts) != len(family.buckets) + 1:
            raise ValueError(
                f"{family.name} has {len(family.buckets)} buckets and +Inf, got {len(counts)} counts"
            )
        numbers.extend(accumulate(counts))
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


def _template(family: Family, samples: Sequence[Sample]) -> str:
    """The lines of *samples* with a slot for each number; label names sorted, as prometheus_client does.

    Raises:
        LabelMismatch: a sample has more or fewer labels than its family, or one that is no string.
    """
    for labels, _ in samples:
        # Surplus labels would be cut, and a sample shown under the name of another one.
        if len(labels) != len(family.labels) or not all(isinstance(value, str) for value in labels):
            raise LabelMismatch(f"{family.name} takes the labels {family.labels}, got the values {labels!r}")
    order = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    if family.kind == "histogram":
        return "".join(_histogram_lines(family, sample.labels, order) for sample in samples)
    name = family.exposed_name
    return "".join(f"{name}{_label_text(family, sample.labels, order)}{_SLOT}" for sample in samples)


def _label_text(family: Family, values: Sequence[str], order: Iterable[int]) -> str:
    """``{a="x",b="y"}``, escaped for the format and for the template; empty without labels."""
    pairs = ",".join(f'{family.labels[index]}="{escaped(values[index])}"' for index in order)
    return f"{{{pairs}}}" if pairs else ""


def _histogram_lines(family: Family, values: Sequence[str], order: Sequence[int]) -> str:
    """The lines of one histogram: buckets, count, sum; `le` stands where sorting puts it."""
    before = "".join(
        f'{family.labels[index]}="{escaped(values[index])}",'
        for index in order
        if family.labels[index] < "le"
    )
    after = "".join(
        f',{family.labels[index]}="{escaped(values[index])}"'
        for index in order
        if family.labels[index] > "le"
    )
    bounds = [_go_string(bound) for bound in (*family.buckets, float("inf"))]
    lines = [f'{family.name}_bucket{{{before}le="{bound}"{after}}}{_COUNT_SLOT}' for bound in bounds]
    labels = _label_text(family, values, order)
    return "".join((*lines, f"{family.name}_count{labels}{_COUNT_SLOT}", f"{family.name}_sum{labels}{_SLOT}"))


def escaped(value: str) -> str:
    """A label value as it stands between the quotes, `%` doubled for the template."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"").replace("%", "%%")


def cleaned(samples: Sequence[Sample], old: Block | None = None) -> list[Sample]:
    """*samples* with label values that can be written, each series once: the first of equals stays.

    Where the labels are those of the *old* block, they have been through this already.
    """
    if not samples or (old is not None and _same_labels(samples, old.samples)):
        return list(samples)
    found = list(map(_cleaned, samples))
    if len(set(map(_labels_of, found))) == len(found):
        return found
    # Two names may have become one by cleaning: Prometheus refuses a series that comes twice.
    once: dict[tuple[str, ...], Sample] = {}
    for sample in found:
        once.setdefault(sample.labels, sample)
    return list(once.values())


def _cleaned(sample: Sample) -> Sample:
    """*sample* with label values that can be written; almost always the same object."""
    try:
        if "".join(sample.labels).isascii():
            return sample
    except TypeError:
        raise LabelMismatch(f"every label value must be a string, got {sample.labels!r}") from None
    return Sample(tuple(map(clean, sample.labels)), sample.value)
