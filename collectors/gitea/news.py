"""Where Gitea lists what happened last: jobs, newest first, or in versions before 1.27 the runs themselves.

No list is ordered by change. But a run that is run again gets new jobs, so that the newest jobs tell of it,
however old it is; before 1.27 only the runs that go on now do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from collectors._http import NotThere
from collectors.gitea.client import GiteaClient
from collectors.gitea.mapping import Job, Run


@dataclass(frozen=True, slots=True)
class Signal:
    """One line of such a list: something was so with run ``run_id`` of ``project`` (owner/name).

    ``order`` only ever rises. ``changed_at`` is ``None`` while no time is known.
    """

    order: int
    run_id: int
    project: str
    changed_at: datetime | None
    finished: bool

    def is_news(self, stored: datetime | None, unfinished: Collection[int], since: datetime) -> bool:
        """Whether it tells more of its run than what is *stored* as of that time.

        What ended before *since* is none, unless it is known. *unfinished* are the stored runs that are.
        """
        if stored is None:
            return not self.finished or self.changed_at is None or self.changed_at >= since
        if self.changed_at is not None and self.changed_at > stored:
            return True
        return not self.finished and self.run_id not in unfinished


class News:
    """Finds out which list there is, and reads it; for several threads."""

    def __init__(self, client: GiteaClient) -> None:
        self._client = client
        self._by_jobs: bool | None = None

    @property
    def tells_all(self) -> bool:
        """Whether the list also tells of old runs that are run again."""
        return self._by_jobs is not False and not self._client.is_forgejo

    @property
    def decided(self) -> bool:
        """Whether it is known by now which list it is."""
        return self._by_jobs is not None or self._client.is_forgejo

    @property
    def kind(self) -> str:
        """Which ids ``order`` is made of; they cannot be compared with those of another kind."""
        return "jobs" if self.tells_all else "runs"

    def pages(self, scope: str) -> Iterator[list[Signal]]:
        """Pages of signals, the newest first."""
        if self.tells_all:
            try:
                for page in self._client.newest_jobs(scope):
                    if self._by_jobs is None and len(page) > 1:
                        self._by_jobs = page[0].job_id > page[-1].job_id
                    if self._by_jobs is False:
                        break
                    yield [of_job(job) for job in page]
                else:
                    return
            except NotThere as error:
                if self._by_jobs or error.status != 404:
                    raise
        for runs in self._client.newest_runs(scope):
            self._by_jobs = False
            yield [of_run(run) for run in runs]

    def going_on(self, scope: str) -> list[Signal]:
        """What is said of the runs that are not finished, in no order."""
        pages = self._client.newest_runs(scope, unfinished=True)
        return [of_run(run) for runs in pages for run in runs]


def of_job(job: Job) -> Signal:
    """What a job tells of its run."""
    return Signal(job.job_id, job.run_id, job.project, job.changed_at, job.status.finished)


def of_run(run: Run) -> Signal:
    """What a run tells of itself."""
    return Signal(
        run.run_id, run.run_id, run.project, run.completed_at or run.started_at, run.status.finished
    )
