"""How long jobs waited for a runner, made out from what Gitea shows of the jobs beside them.

All jobs of an attempt are created at once, also those that need others. Which do, Gitea does not tell but by
their status, as long as they wait.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from collectors.gitea.mapping import Job
from exporter.model.runs import Status

_MOST_KEPT = 50_000


@dataclass(slots=True)
class Waits:
    """Which jobs were seen to wait for others, and which for nothing but a runner; for several threads."""

    _turn: threading.Lock = field(default_factory=threading.Lock)
    _blocked: dict[tuple[str, int], bool] = field(default_factory=dict)

    def note(self, unit: str, jobs: Sequence[Job]) -> None:
        """Remember of the *jobs* of one attempt which of them wait, and for what."""
        nothing_ended = not any(job.status.finished for job in jobs)
        with self._turn:
            for job in jobs:
                key = (unit, job.job_id)
                if job.status is Status.CREATED:
                    self._blocked[key] = True
                elif job.status is Status.PENDING and nothing_ended:
                    self._blocked.setdefault(key, False)
            for key in list(self._blocked)[: max(0, len(self._blocked) - _MOST_KEPT)]:
                del self._blocked[key]

    def seconds(self, unit: str, job: Job, jobs: Sequence[Job]) -> float | None:
        """How long *job* waited for a runner, in seconds; ``None`` if it did not start, or nobody can tell.

        From its creation if no other of the *jobs* of its attempt ended meanwhile: then it needed none. If
        it was seen to need one, from the last end of those.
        """
        if job.started_at is None:
            return None
        since = job.created_at
        ends = [
            other.completed_at
            for other in jobs
            if other is not job and other.completed_at and since < other.completed_at <= job.started_at
        ]
        if ends:
            with self._turn:
                blocked = self._blocked.get((unit, job.job_id))
            if blocked is None:
                return None
            since = max(ends) if blocked else since
        return (job.started_at - since).total_seconds()
