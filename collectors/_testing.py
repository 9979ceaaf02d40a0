"""What tests came to, and how it becomes samples and counted events; knows no vendor."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from exporter import ci_test_families as families
from exporter.clock import timestamp
from exporter.contract import Observation
from exporter.families import Family, Labels, Sample
from exporter.model.views import Total

OTHER = "other"
"""The suite that stands for all those for which there is no room."""
REMEMBERED = 20
"""Over how many reports of a ref it is remembered how a test ended."""
_OPEN = ""  # the name of the project, which may change
_FLAKY = 2
_PASSED, _FAILED = ".", "F"
_LONGEST_LABEL = 300
_PERSISTED = {family.name: family for family in families.TOTAL_FAMILIES}


class RefKey(NamedTuple):
    """Of what a report is the newest: one ref, by what started its runs."""

    ref: str
    kind: str
    source: str


class Case(NamedTuple):
    """One test by its names."""

    suite: str
    class_name: str
    name: str


@dataclass(frozen=True, slots=True)
class Suite:
    """What the tests of one suite came to; ``jobs`` are the ids of those that ran them.

    They tell one try of the suite from the next: a job that is run again has another id. ``broken`` says
    that the source could not understand what the tests wrote.
    """

    name: str
    seconds: float
    counts: Mapping[str, int]
    jobs: tuple[int, ...] = ()
    broken: bool = False

    @property
    def status(self) -> str:
        """How it ended as a whole."""
        if self.broken:
            return families.ERROR
        return families.FAILED if self.failures else families.SUCCESS

    @property
    def failures(self) -> int:
        """How many tests failed, or broke before they could tell."""
        return self.counts.get(families.FAILED, 0) + self.counts.get(families.ERROR, 0)

    @property
    def key(self) -> str:
        """Tells it from every other try of every suite of the project."""
        return f"{self.name}\0{','.join(map(str, sorted(self.jobs)))}"


@dataclass(frozen=True, slots=True)
class Report:
    """All suites of one execution of a run."""

    suites: tuple[Suite, ...]

    @property
    def seconds(self) -> float:
        """How long all tests took, one after the other."""
        return sum(suite.seconds for suite in self.suites)

    @property
    def status(self) -> str:
        """The worst of its suites."""
        statuses = {suite.status for suite in self.suites}
        return next((one for one in (families.FAILED, families.ERROR) if one in statuses), families.SUCCESS)

    @property
    def counts(self) -> dict[str, int]:
        """How many tests ended in each way."""
        total: Counter[str] = Counter()
        for suite in self.suites:
            total.update(suite.counts)
        return {status: total[status] for status in families.CASE_STATUSES}

    @property
    def failures(self) -> int:
        """How many tests failed or broke."""
        return sum(suite.failures for suite in self.suites)

    @property
    def key(self) -> str:
        """Tells it from every other report of the project."""
        text = "\n".join(sorted(suite.key for suite in self.suites))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest report of one ref, as it is shown.

    ``history`` tells of single tests how they ended in the last reports of the ref, the newest last: of those
    that failed in one of them.
    """

    run_id: int
    finished_at: datetime
    seconds: float
    cases: Mapping[str, int]
    suites: Mapping[str, int]
    key: str
    history: Mapping[Case, str] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Report, run_id: int, finished_at: datetime) -> Newest:
        """What is shown of *report*, without single tests."""
        suites = Counter(suite.status for suite in report.suites)
        return cls(
            run_id,
            finished_at,
            report.seconds,
            report.counts,
            {status: suites[status] for status in families.REPORT_STATUSES},
            report.key,
        )


def remembered(before: Mapping[Case, str], failed: Iterable[Case], ran: Iterable[str]) -> dict[Case, str]:
    """The history after one more report, in which *failed* failed and the suites *ran* were understood.

    Tests that did not fail within :data:`REMEMBERED` reports are forgotten. Failing ones come first, then
    those that changed most often.
    """
    understood, now = set(ran), set(failed)
    history = {case: ends for case, ends in before.items() if case not in now}
    for case, ends in history.items():
        if case.suite in understood:
            history[case] = (ends + _PASSED)[-REMEMBERED:]
    kept = {case: ends for case, ends in history.items() if _FAILED in ends}
    kept |= {case: (before.get(case, "") + _FAILED)[-REMEMBERED:] for case in now}
    return {case: kept[case] for case in sorted(kept, key=lambda case: _rank(case, kept[case]))}


def _rank(case: Case, ends: str) -> tuple[bool, int, Case]:
    return (not ends.endswith(_FAILED), -flips(ends), case)


def flips(ends: str) -> int:
    """How often a test began or ceased to fail."""
    return sum(one != other for one, other in pairwise(ends))


# -- what is counted ---------------------------------------------------------------------------------


def observations(
    provider: str, report: Report, shown_as: Callable[[str], str], remember_until: datetime
) -> list[Observation]:
    """What *report* adds to the totals; *shown_as* gives the label of a suite.

    A suite whose jobs did not run again adds nothing a second time, in whatever report it stands. The name
    of the project is left open, as it may change.
    """
    where = (provider, _OPEN)
    found: list[Observation] = []
    for suite in report.suites:
        labels = (*where, shown_as(suite.name))
        found.append(Observation(families.SUITE_REPORTS, (*labels, suite.status), 1.0, suite.key))
        found.append(Observation(families.SUITE_DURATION, labels, suite.seconds, suite.key))
        found += (
            Observation(families.CASES, (*labels, status), float(count), f"{suite.key}\0{status}")
            for status, count in suite.counts.items()
            if count
        )
    found.append(Observation(families.REPORTS, (*where, report.status), 1.0, report.key))
    found.append(Observation(families.DURATION, where, report.seconds, report.key))
    return [one._replace(remember_until=remember_until) for one in found]


def totals_of(provider: str, suite: str) -> list[tuple[Family, Labels]]:
    """The totals that a suite may have, each with its labels."""
    labels = (provider, _OPEN, suite)
    return [
        (families.SUITE_DURATION, labels),
        *((families.SUITE_REPORTS, (*labels, status)) for status in families.REPORT_STATUSES),
        *((families.CASES, (*labels, status)) for status in families.CASE_STATUSES),
    ]


def without(events: Sequence[Observation], provider: str, suites: Iterable[str]) -> list[Observation]:
    """Those of *events* that add to no total of one of *suites*."""
    totals_ = {total for suite in suites for total in totals_of(provider, suite)}
    return [event for event in events if (event.family, event.labels) not in totals_]


def totals(project: str, stored: Sequence[Total]) -> dict[Family, list[Sample]]:
    """What was counted for *project*, sorted; every status of a suite that has any, at 0 if need be."""
    found: dict[Family, list[Sample]] = {family: [] for family in families.TOTAL_FAMILIES}
    for total in stored:
        family = _PERSISTED.get(total.family)
        # What does not fit our families was written by another version: kept in the store, not shown.
        if family is None or len(total.labels) != len(family.labels):
            continue
        if (total.buckets is None) != (family.kind == "counter"):
            continue
        value = total.value if total.buckets is None else family.distribution(total.buckets, total.value)
        found[family].append(Sample((total.labels[0], project, *total.labels[2:]), value))
    _add_zeros(found[families.CASES], families.CASE_STATUSES)
    _add_zeros(found[families.SUITE_REPORTS], families.REPORT_STATUSES)
    _add_zeros(found[families.REPORTS], families.REPORT_STATUSES)
    return {family: sorted(samples, key=_by_labels) for family, samples in found.items()}


def _add_zeros(into: list[Sample], statuses: Sequence[str]) -> None:
    """Without the zero, the first failure of a suite would show no increase to ``rate()``."""
    seen = {sample.labels for sample in into}
    for labels in {labels[:-1] for labels in seen}:
        into.extend(Sample((*labels, one), 0.0) for one in statuses if (*labels, one) not in seen)


def _by_labels(sample: Sample) -> tuple[str, ...]:
    return tuple(map(str, sample.labels))


# -- what is shown of the newest reports -------------------------------------------------------------


def samples(where: tuple[str, str], newest: Mapping[RefKey, Newest]) -> dict[Family, list[Sample]]:
    """What is exposed of the *newest* reports; *where* is provider and project."""
    found: dict[Family, list[Sample]] = {family: [] for family in families.STATE_FAMILIES}
    for ref, one in sorted(newest.items()):
        labels = (*where, *ref)
        for status in families.CASE_STATUSES:
            found[families.LAST_CASES].append(Sample((*labels, status), float(one.cases.get(status, 0))))
        for status in families.REPORT_STATUSES:
            found[families.LAST_SUITES].append(Sample((*labels, status), float(one.suites.get(status, 0))))
        found[families.LAST_DURATION].append(Sample(labels, one.seconds))
        found[families.LAST_RUN_ID].append(Sample(labels, float(one.run_id)))
        found[families.LAST_FINISHED].append(Sample(labels, timestamp(one.finished_at)))
        for case, ends in sorted(one.history.items()):
            named = (*labels, *case)
            if ends.endswith(_FAILED):
                found[families.CASE_FAILED].append(Sample(named, 1.0))
            if flips(ends) >= _FLAKY:
                found[families.CASE_FLIPS].append(Sample(named, float(flips(ends))))
    return found


def short(text: str) -> str:
    """*text*, cut to what a label value may cost: names of tests may hold whole paragraphs."""
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"
