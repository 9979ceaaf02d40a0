"""How tests of any source become samples and counted events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from collectors import _testing
from collectors._testing import Case, Newest, RefKey, Report, Suite
from exporter import ci_test_families as families
from exporter.model.views import Total

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def suite(name: str = "unit", *jobs: int, failed: int = 0, broken: bool = False) -> Suite:
    counts = {"success": 5, "failed": failed, "error": 0, "skipped": 1}
    return Suite(name, 2.0, counts, jobs or (1,), broken)


def added(report: Report) -> dict[tuple[str, ...], float]:
    return {
        (event.family.exposed_name, *map(str, event.labels[2:])): event.value
        for event in _testing.observations("gitlab", report, str, NOW)
    }


def keys(*reports: Report) -> set[tuple[str, str]]:
    return {
        (event.family.name, event.key)
        for report in reports
        for event in _testing.observations("gitlab", report, str, NOW)
    }


def test_a_report_adds_what_it_has_and_no_zeros() -> None:
    assert added(Report((suite(failed=2),))) == {
        ("ci_test_suite_reports_total", "unit", "failed"): 1,
        ("ci_test_suite_duration_seconds_total", "unit"): 2,
        ("ci_test_cases_total", "unit", "success"): 5,
        ("ci_test_cases_total", "unit", "failed"): 2,
        ("ci_test_cases_total", "unit", "skipped"): 1,
        ("ci_test_reports_total", "failed"): 1,
        ("ci_test_report_duration_seconds",): 2,
    }


def test_what_a_suite_adds_to_can_be_given_up_whole() -> None:
    report = Report((suite(failed=2), suite("gone", broken=True)))
    events = _testing.observations("gitlab", report, str, NOW)
    added_to = {(event.family, event.labels) for event in events if "gone" in event.labels}
    assert added_to
    assert added_to <= set(_testing.totals_of("gitlab", "gone"))
    assert all(event.remember_until == NOW for event in events)


def test_what_did_not_run_again_has_the_same_keys_in_whatever_order() -> None:
    one, other = suite("a", 2, 1), suite("b", 3)
    assert keys(Report((one, other))) == keys(Report((other, suite("a", 1, 2))))
    again = keys(Report((one, suite("b", 4)))) - keys(Report((one, other)))
    assert {name for name, _ in again} == {
        "ci_test_suite_reports",
        "ci_test_suite_duration_seconds",
        "ci_test_cases",
        "ci_test_reports",
        "ci_test_report_duration_seconds",
    }
    assert not any(key.startswith("a\0") for _, key in again)


@pytest.mark.parametrize(
    ("suites", "status"),
    [
        ([suite()], "success"),
        ([suite(), suite(broken=True)], "error"),
        ([suite(broken=True), suite(failed=1)], "failed"),
    ],
)
def test_a_report_is_as_bad_as_its_worst_suite(suites: list[Suite], status: str) -> None:
    assert Report(tuple(suites)).status == status


def test_totals_of_another_version_are_not_shown() -> None:
    shown = _testing.totals(
        "acme/p",
        [
            Total("ci_test_cases", ("gitlab", "", "unit", "success"), 5.0),
            Total("ci_test_cases", ("gitlab", "", "success"), 5.0),
            Total("ci_test_cases", ("gitlab", "", "unit", "failed"), 5.0, {1.0: 1}),
            Total("ci_test_report_duration_seconds", ("gitlab", ""), 5.0),
            Total("ci_pipeline_runs", ("gitlab", ""), 5.0),
        ],
    )
    assert {sample.labels: sample.value for sample in shown[families.CASES]} == {
        ("gitlab", "acme/p", "unit", "success"): 5,
        ("gitlab", "acme/p", "unit", "failed"): 0,
        ("gitlab", "acme/p", "unit", "error"): 0,
        ("gitlab", "acme/p", "unit", "skipped"): 0,
    }
    assert not any(shown[family] for family in (families.DURATION, families.REPORTS))


ONE, TWO = Case("unit", "spec", "one"), Case("unit", "spec", "two")


def history(*reports: set[Case], ran: tuple[str, ...] = ("unit",)) -> dict[Case, str]:
    known: dict[Case, str] = {}
    for failed in reports:
        known = _testing.remembered(known, failed, ran)
    return known


def test_a_history_begins_with_the_first_failure() -> None:
    assert history(set(), {ONE}, set(), {ONE, TWO}) == {ONE: "F.F", TWO: "F"}


def test_a_suite_that_did_not_run_says_nothing_of_its_tests() -> None:
    known = history({ONE})
    assert _testing.remembered(known, [], ["other"]) == {ONE: "F"}


def test_a_test_that_fails_no_more_is_forgotten_in_the_end() -> None:
    assert history({ONE}, *[set()] * 19) == {ONE: "F" + "." * 19}
    assert history({ONE}, *[set()] * 20) == {}


def test_those_that_fail_now_come_first_then_those_that_changed_most() -> None:
    three = Case("unit", "spec", "three")
    known = history({TWO}, set(), {TWO, three}, {ONE})
    assert list(known) == [ONE, TWO, three]


@pytest.mark.parametrize(("ends", "count"), [("", 0), ("F", 0), ("FF..", 1), ("F.F", 2), ("F.F.F", 4)])
def test_flips(ends: str, count: int) -> None:
    assert _testing.flips(ends) == count


def test_flaky_are_tests_that_changed_twice() -> None:
    newest = Newest(1, NOW, 1.0, {}, {}, "", {ONE: "F.F", TWO: "F."})
    shown = _testing.samples(("gitlab", "acme/p"), {RefKey("main", "branch", "push"): newest})
    labels = ("gitlab", "acme/p", "main", "branch", "push", *ONE)
    assert [tuple(sample) for sample in shown[families.CASE_FLIPS]] == [(labels, 2.0)]
    assert [tuple(sample) for sample in shown[families.CASE_FAILED]] == [(labels, 1.0)]


def test_every_sample_has_the_labels_of_its_family() -> None:
    newest = Newest.of(Report((suite(failed=1),)), 1, NOW)
    shown = _testing.samples(("gitlab", "acme/p"), {RefKey("main", "branch", "push"): newest})
    for family, samples in shown.items():
        assert all(len(sample.labels) == len(family.labels) for sample in samples)
