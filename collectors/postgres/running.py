"""One run of a query file: its queries one after the other, all in one snapshot of the database."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.postgres.database import Database
from collectors.postgres.errors import ConnectionLost, QueryFailed, Unreachable
from collectors.postgres.series import MissingColumns, Shaper, Yield
from collectors.postgres.snapshot import Snapshot
from collectors.postgres.spec import Query
from collectors.postgres.standing import FileStanding
from exporter.clock import Clock, timestamp
from exporter.contract import Observation


@dataclass(slots=True)
class Run:
    """How a run ended: ``lost`` if the connection broke, ``reached`` if there ever was one."""

    observations: list[Observation] = field(default_factory=list)
    lost: bool = False
    reached: bool = True


def run_file(
    database: Database,
    standing: FileStanding,
    shaper: Shaper,
    clock: Clock,
    *,
    statement_timeout: float,
    rehearsal: bool = False,
) -> Run:
    """Run the file of *standing* and note there how each query fared, in a *rehearsal* with all it gave.

    Raises:
        Stopped: the program is stopping; nothing more is noted.
    """
    run = Run()
    left = dict(standing.job.queries)
    try:
        with database.snapshot(statement_timeout=statement_timeout, discard=rehearsal) as snapshot:
            for name, query in list(left.items()):
                found = _run_query(snapshot, standing, shaper, clock, name, query)
                del left[name]
                if found is not None:
                    run.observations += found.observations
                    standing.queries[name].found = found if rehearsal else None
    except (Unreachable, ConnectionLost) as error:
        run.lost = True
        run.reached = isinstance(error, ConnectionLost)
        for name in left:
            standing.failed(name, str(error), None, clock.monotonic())
    return run


def _run_query(
    snapshot: Snapshot, standing: FileStanding, shaper: Shaper, clock: Clock, name: str, query: Query
) -> Yield | None:
    """Run one query; the others go on whatever becomes of it."""
    started = clock.monotonic()
    try:
        result = snapshot.run(query)
        found = shaper.shape(query, result)
    except QueryFailed as error:
        standing.failed(name, str(error), clock.monotonic() - started, clock.monotonic())
        return None
    except MissingColumns as error:
        message = f"database {standing.job.database}, query {name}: {error}"
        standing.failed(name, message, clock.monotonic() - started, clock.monotonic())
        return None
    standing.succeeded(name, found, result.seconds, clock.monotonic(), timestamp(clock.now()))
    return found
