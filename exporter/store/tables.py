"""The tables of the store, in SQLAlchemy Core; the migrations build the same ones step by step."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from exporter.clock import EPOCH
from exporter.model.runs import UNFINISHED

_MICROSECOND = timedelta(microseconds=1)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware instant, stored as whole microseconds since 1970 in UTC.

    An integer orders, compares and survives alike in every database; SQLite has no type for time.
    """

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


metadata = sa.MetaData()
# Not Alembic's own name, under which another program's revisions may stand in the same database.
VERSION_TABLE = "ci_exporter_schema"

# One row per source instance.
targets = sa.Table(
    "targets",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("first_seen_at", Instant, nullable=False),
)

# One row per unit (project); its row is the lock under which its runs are saved. `version` grows with what
# it exposes; `pruned` are the runs deleted for their age, which changes lists of runs only.
units = sa.Table(
    "units",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("target_id", sa.Integer, sa.ForeignKey("targets.id"), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("default_branch", sa.Text, nullable=False),
    sa.Column("counts_from", Instant, nullable=False),
    sa.Column("cursor", sa.Text),
    sa.Column("caught_up", sa.Boolean, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("pruned", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("target_id", "key"),
)

# Every run that is kept. `stamps` are its recorded executions (see exporter.counting), separated by
# spaces. `deleted` ones no longer exist at the source: hidden, kept so that they never count again.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("ref_kind", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("queue_seconds", sa.Float),
    sa.Column("coverage_ratio", sa.Float),
    sa.Column("username", sa.Text),
    sa.Column("web_url", sa.Text),
    sa.Column("sha", sa.Text),
    sa.Column("commit_title", sa.Text),
    sa.Column("number", sa.BigInteger),
    sa.Column("selected", sa.Boolean, nullable=False),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("stamps", sa.Text),
    sqlite_with_rowid=False,
)
unfinished = runs.c.status.in_([sa.literal_column(f"'{status.value}'") for status in UNFINISHED])
sa.Index(
    "runs_unfinished",
    runs.c.unit_id,
    runs.c.status,
    sqlite_where=unfinished,
    postgresql_where=unfinished,
)

# All that numbers are made of, so that the table itself need not be read for them.
sa.Index(
    "runs_of_unit",
    runs.c.unit_id,
    runs.c.created_at,
    runs.c.run_id,
    runs.c.deleted,
    runs.c.status,
    runs.c.source,
    runs.c.ref_kind,
    runs.c.ref,
    runs.c.duration_seconds,
    runs.c.queue_seconds,
)
# The orders in which runs are listed.
for _column in (runs.c.created_at, runs.c.finished_at, runs.c.duration_seconds, runs.c.queue_seconds):
    sa.Index(f"runs_by_{_column.name}", _column, runs.c.unit_id, runs.c.run_id)

# How many runs that are not deleted each unit had in each period (see exporter.store.periods) by when they
# were created: `timed` of them have a duration, `queued` a time in the queue, and these are their sums.
periods = sa.Table(
    "periods",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("period", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("ref_kind", sa.Text, primary_key=True),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("timed", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("queued", sa.BigInteger, nullable=False),
    sa.Column("queue_seconds", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

# The same of four periods together, whatever the source and kind of ref: few rows, for long times.
seasons = sa.Table(
    "seasons",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("season", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.Text, primary_key=True),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("timed", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("queued", sa.BigInteger, nullable=False),
    sa.Column("queue_seconds", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

# The newest run of each pipeline, ref and source, so that a start need not search all runs.
latest = sa.Table(
    "latest",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("ref_kind", sa.Text, primary_key=True),
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.BigInteger, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("duration_seconds", sa.Float),
    sa.Column("queue_seconds", sa.Float),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("allow_failure", sa.Boolean, nullable=False),
    sa.Column("web_url", sa.Text),
    sa.Column("stamps", sa.Text),
    sqlite_with_rowid=False,
)
sa.Index("jobs_by_run", jobs.c.unit_id, jobs.c.run_id)

# Counters and histograms. `labels` is a JSON list; `buckets` a JSON object bound -> observations.
totals = sa.Table(
    "totals",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("family", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("buckets", sa.Text),
    sqlite_with_rowid=False,
)

# The events that are in the totals, of sources that keep no runs: hashes of family and key.
observed = sa.Table(
    "observed",
    metadata,
    sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

# Who takes events from the outbox: all up to `position` is delivered, was saved before it subscribed, or is
# in none of its `streams` (separated by spaces).
sinks = sa.Table(
    "sinks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("streams", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)


def _event_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("time", Instant, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    ]


# Events that not every sink has delivered. Positions are never used twice, and are seen in their order.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("saved_at", Instant, nullable=False),
    *_event_columns(),
    sqlite_autoincrement=True,
)

# Events that a receiver will never take, and why.
dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("buried_at", Instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    *_event_columns(),
)

# The events of sources that were told already, until `forget_hour` since 1970 (`NULL`: for ever). There may
# be millions: so the columns are in the order without padding, and have no foreign key to look up for each.
told = sa.Table(
    "told",
    metadata,
    sa.Column("target_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("forget_hour", sa.Integer),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# What is to be known of the store itself, such as its identity.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Messages to people that are still to be sent. `alerts` is a JSON list.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("alerts", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)

# What is wrong, or was a while ago, and what people were told of it (exporter.model.alerts.AlertState).
# `labels` and `about` are JSON objects, `flips` microseconds since 1970, separated by spaces.
alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("resolved_at", Instant),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("told_at", Instant),
    sa.Column("flips", sa.Text, nullable=False),
    sa.Column("flapping", sa.Boolean, nullable=False),
    sa.Column("flapping_told", sa.Boolean, nullable=False),
)

# One row: whose turn it is to keep `alerts`. Whoever begins raises it, so that one who still believes to be
# the only one cannot tell anything twice.
watches = sa.Table(
    "watches",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("turn", sa.BigInteger, nullable=False),
)

# What sources pushed and nobody has read yet, in the order in which it came. On SQLite, those in use are in a
# file of their own, so that no hook waits for a round that saves. `due_at` is later than `received_at` for
# one that could not be read; `tries` says how often. `size` is that of headers and body.
hooks = sa.Table(
    "hooks",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("collector", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# All that is asked of the queue as a whole, so that bodies need not be walked over.
sa.Index(
    "hooks_by_collector", hooks.c.collector, hooks.c.number, hooks.c.due_at, hooks.c.received_at, hooks.c.size
)

# Hooks that came in the last day, or the last two million, so that a repetition is known as one.
hooks_seen = sa.Table(
    "hooks_seen",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("seen_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("hooks_seen_by_time", hooks_seen.c.seen_at)
