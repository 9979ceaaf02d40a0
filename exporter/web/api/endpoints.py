"""The table of endpoints: it routes, parses, answers and documents them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from exporter.model.history import BadPosition, History
from exporter.web.api import records
from exporter.web.api.columns import Row, Table
from exporter.web.api.parameters import (
    AFTER,
    FILTERS,
    FORMAT,
    LIMIT,
    ORDER,
    PROJECT,
    PROVIDER,
    SORT,
    STEP,
    BadParameter,
    Parameter,
    Values,
    globs,
    instants,
    wanted,
)

MOST_STEPS = 2000
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: one row, or a list of them; ``after`` is where the next page begins, ``None`` at the end."""

    rows: Row | Sequence[Row]
    after: str | None = None


Place = Mapping[str, str]
"""What the path says: name of its part -> text."""
Ask = Callable[[History, Values, Place], Found | None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One question that can be asked; ``ask`` puts it to the history, ``None`` is 404.

    ``path`` is as the document has it. ``many`` says that the answer is a list of rows of the ``table``.
    """

    path: str
    name: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    table: Table
    many: bool
    ask: Ask

    @property
    def has_csv(self) -> bool:
        """Whether the answer fits into lines of cells."""
        return FORMAT in self.parameters


def _summary(history: History, values: Values, _place: Place) -> Found:
    return Found(records.SUMMARY.row(history.summary(wanted(values))))


def _runs(history: History, values: Values, _place: Place) -> Found:
    sort, descending = values["sort"]
    try:
        page = history.runs(
            wanted(values), sort=sort, descending=descending, limit=values["limit"], after=values["after"]
        )
    except BadPosition:
        raise BadParameter(
            "after: must be copied from the Link header of the page before, with the same sort"
        ) from None
    return Found([records.RUN.row(run) for run in page.runs], page.after)


def _run(history: History, _values: Values, place: Place) -> Found | None:
    text = place["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_ID):
        raise BadParameter(f"id: must be a whole number from 0 to {LARGEST_ID}")
    if "\0" in place["provider"] + place["project"]:
        return None
    found = history.run(place["provider"], place["project"], int(text))
    return None if found is None else Found(records.RUN_WITH_JOBS.row(found))


def _projects(history: History, values: Values, _place: Place) -> Found:
    return Found([records.PROJECT.row(state) for state in history.projects(wanted(values))])


def _timeseries(history: History, values: Values, _place: Place) -> Found:
    step: int = values["step"]
    steps = (values["to"] - values["from"]) / timedelta(seconds=step)
    if steps > MOST_STEPS:
        raise BadParameter(f"step: at most {MOST_STEPS} steps fit between from and to; take a longer one")
    return Found([records.STEP.row(one) for one in history.timeseries(wanted(values), step)])


def _jobs(history: History, values: Values, _place: Place) -> Found:
    found = history.jobs(wanted(values), values["order"], values["limit"])
    return Found([records.JOB_STATE.row(state) for state in found])


def _dora(history: History, values: Values, _place: Place) -> Found:
    return Found(records.DORA.row(history.dora(wanted(values), values["deployments"])))


DEPLOYMENTS = globs("deployments", "Jobs that deploy, by their names or stages", "deploy*")

ENDPOINTS = (
    Endpoint(
        "/api/stats/summary",
        "getSummary",
        "All runs in numbers",
        "Counts, success rate, durations and waits of the runs that match.",
        (*instants(), *FILTERS, FORMAT),
        records.SUMMARY,
        many=False,
        ask=_summary,
    ),
    Endpoint(
        "/api/stats/timeseries",
        "getTimeseries",
        "Runs in numbers, step by step",
        f"One row for each step from the first to the last, also without runs; at most {MOST_STEPS}.",
        (*instants("now-7d", "now"), *FILTERS, STEP, FORMAT),
        records.STEP,
        many=True,
        ask=_timeseries,
    ),
    Endpoint(
        "/api/stats/jobs",
        "getJobs",
        "Slowest, most failing and most retried jobs",
        "All executions of each job of the runs that match.",
        (*instants("now-30d"), *FILTERS, ORDER, LIMIT, FORMAT),
        records.JOB_STATE,
        many=True,
        ask=_jobs,
    ),
    Endpoint(
        "/api/stats/dora",
        "getDora",
        "The four measures of software delivery",
        "A deployment is an execution of a job that deploys, on the default branch, that succeeded or "
        "failed. deployments_per_day = all / days; lead_time = median from the creation of a run to the end "
        "of its deployment that succeeded; change_failure_rate = failed / all; time_to_restore = median from "
        "the end of one that failed to the end of the next of that job that succeeded.",
        (*instants("now-30d", "now"), PROJECT, PROVIDER, DEPLOYMENTS, FORMAT),
        records.DORA,
        many=False,
        ask=_dora,
    ),
    Endpoint(
        "/api/pipelines",
        "listRuns",
        "Runs, page by page",
        'A page that is not the last has a header Link: <…>; rel="next" with the address of the next one.',
        (*instants(), *FILTERS, SORT, LIMIT, AFTER, FORMAT),
        records.RUN,
        many=True,
        ask=_runs,
    ),
    Endpoint(
        "/api/pipelines/{provider}/{project}/{id}",
        "getRun",
        "One run with its jobs",
        "Slashes in the project may be written as they are, or as %2F.",
        (),
        records.RUN_WITH_JOBS,
        many=False,
        ask=_run,
    ),
    Endpoint(
        "/api/projects",
        "listProjects",
        "Projects with their newest runs",
        "Projects that match, by name, also those without runs that do.",
        (*instants(), *FILTERS, FORMAT),
        records.PROJECT,
        many=True,
        ask=_projects,
    ),
)
