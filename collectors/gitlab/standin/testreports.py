"""Reports of tests: what jobs report, and how GitLab sums it up for a pipeline.

Source: GitLab, lib/gitlab/ci/reports/test_suite_summary.rb, test_suite.rb; app/serializers/test_*_entity.rb.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from collectors._standin.times import dice, iso
from collectors.gitlab.standin import history
from collectors.gitlab.standin.records import Job, JobTests, Pipeline

MADE_AFTER = 3_000
"""Milliseconds from the end of a job to its part of the summary, which GitLab makes in the background."""
_TESTING = frozenset(("unit", "integration", "child-test"))
_BROKEN = "JUnit XML parsing failed: 1:1: FATAL: Document is empty"
_PARALLEL = re.compile(r"[\s:]+\d+[\s:/\\]+\d+\s*\Z")
_SHAKY = ("opens_the_door", "keeps_the_order", "survives_midnight", "waits_for_the_lock")


def tests_of(job: Job) -> JobTests | None:
    """What *job* reported; ``None`` if nothing."""
    if job.is_bridge or job.status not in ("success", "failed") or job.started_at is None:
        return None
    return job.plan.attempt(job.attempt).tests or _usual(job)


def _usual(job: Job) -> JobTests | None:
    """What jobs of its name report, the same each time that it is asked for."""
    if job.plan.name not in _TESTING or job.failure_reason not in ("", "script_failure"):
        return None
    chance = dice(job.id)
    seconds = round((job.finished_at or 0) - (job.started_at or 0)) / 1000 * 0.8
    if chance.random() < 0.01:
        return JobTests(seconds=0.0, broken=_BROKEN)
    failed = tuple(chance.sample(_SHAKY, chance.randrange(1, 4))) if job.status == "failed" else ()
    most = 40 + sum(map(ord, job.plan.name + job.pipeline.project.first_path)) % 160
    return JobTests(most - len(failed), failed, (), chance.randrange(4), round(seconds, 3))


def suite_name(job: Job) -> str:
    """Which suite the job belongs to: parallel jobs share one."""
    return _PARALLEL.sub("", job.plan.name)


@dataclass(frozen=True, slots=True)
class Part:
    """One job's share of a report."""

    job: Job
    tests: JobTests


def parts(pipeline: Pipeline, before: int | None = None) -> list[Part]:
    """What the newest job of each name reported, of those that ended by *before*."""
    found = []
    for job in sorted(history.jobs_of(pipeline), key=lambda job: job.id):
        over = before is None or (job.finished_at or 0) <= before
        tests = None if job.retried or not over else tests_of(job)
        if tests is not None:
            found.append(Part(job, tests))
    return found


def summary(found: Iterable[Part]) -> dict[str, Any]:
    """``GET …/test_report_summary``."""
    known = list(found)
    total = _counts(known)
    return {
        "total": {
            "time": total["total_time"],
            "count": total["total_count"],
            "success": total["success_count"],
            "failed": total["failed_count"],
            "skipped": total["skipped_count"],
            "error": total["error_count"],
            "suite_error": _broken(known),
        },
        "test_suites": suites(known),
    }


def suites(found: Iterable[Part]) -> list[dict[str, Any]]:
    """The suites of a summary."""
    return [
        {
            "name": name,
            **_counts(members),
            "build_ids": [part.job.id for part in members],
            "suite_error": _broken(members),
        }
        for name, members in _by_suite(found).items()
    ]


def report(found: Iterable[Part]) -> dict[str, Any]:
    """``GET …/test_report``: every test, and no ids of jobs."""
    known = list(found)
    return {
        **_counts(known),
        "test_suites": [
            {
                "name": name,
                **_counts(members),
                "suite_error": _broken(members),
                "test_cases": [] if _broken(members) else list(_cases(members)),
            }
            for name, members in _by_suite(known).items()
        ],
    }


def truth(pipeline: Pipeline, at: int) -> dict[str, Any]:
    """What the tests of *pipeline* came to as it ended at *at*; without suites if nothing was reported."""
    return {
        "project": pipeline.project.path,
        "pipeline_id": pipeline.id,
        "execution": pipeline.execution,
        "ref": pipeline.ref,
        "ref_kind": pipeline.ref_kind,
        "source": pipeline.source,
        "recorded_at": iso(at),
        "test_suites": suites(parts(pipeline)),
    }


def _by_suite(found: Iterable[Part]) -> Mapping[str, list[Part]]:
    by_name: dict[str, list[Part]] = {}
    for part in found:
        by_name.setdefault(suite_name(part.job), []).append(part)
    return by_name


def _counts(found: Iterable[Part]) -> dict[str, Any]:
    tests = [part.tests for part in found]
    counts = {
        "success_count": sum(one.success for one in tests),
        "failed_count": sum(len(one.failed) for one in tests),
        "skipped_count": sum(one.skipped for one in tests),
        "error_count": sum(len(one.error) for one in tests),
    }
    total = {"total_time": sum(one.seconds for one in tests), "total_count": sum(counts.values())}
    return total | counts


def _broken(found: Iterable[Part]) -> str | None:
    return next((part.tests.broken for part in found if part.tests.broken), None)


def _cases(found: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """The tests of one suite as GitLab sorts them: those that went wrong first."""
    for part in found:
        tests = part.tests
        yield from (_case(part, "error", name) for name in tests.error)
        yield from (_case(part, "failed", name) for name in tests.failed)
    for part in found:
        yield from (_case(part, "success", f"works_{n}") for n in range(part.tests.success))
        yield from (_case(part, "skipped", f"is_left_out_{n}") for n in range(part.tests.skipped))


def _case(part: Part, status: str, name: str) -> dict[str, Any]:
    wrong = status in ("error", "failed")
    each = len(part.tests.failed) + len(part.tests.error) + part.tests.success or 1
    return {
        "status": status,
        "name": f"test_{name}",
        "classname": f"tests.{suite_name(part.job)}",
        "file": f"tests/{suite_name(part.job)}.py",
        "execution_time": 0.0 if status == "skipped" else round(part.tests.seconds / each, 3),
        "system_output": f"AssertionError: {name}" if wrong else None,
        "stack_trace": None,
        "recent_failures": None,
    }
