"""Runs of query files that the database itself asks for, by NOTIFY."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collectors.postgres.database import Database
from collectors.postgres.plan import Job
from exporter.contract import Context


class Listeners:
    """One connection for each database that has files which listen."""

    def __init__(self, jobs: Iterable[Job], databases: Mapping[str, Database], context: Context) -> None:
        self._jobs = [job for job in jobs if job.file.listen]

    def start(self) -> None:
        """Listen from now on; again and again does nothing."""

    def close(self) -> None:
        """Listen no more."""
