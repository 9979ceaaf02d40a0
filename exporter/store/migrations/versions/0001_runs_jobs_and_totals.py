"""Runs, jobs, the newest run of each ref, and totals."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

UNFINISHED = "status IN ('created', 'pending', 'running', 'manual', 'unknown')"


def upgrade() -> None:
    """Build the first set of tables."""
    op.create_table(
        "targets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("target_id", sa.Integer, sa.ForeignKey("targets.id"), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("default_branch", sa.Text, nullable=False),
        sa.Column("counts_from", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("caught_up", sa.Boolean, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("target_id", "key"),
    )
    _create_runs()
    op.create_table(
        "latest",
        sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
        sa.Column("pipeline", sa.Text, primary_key=True),
        sa.Column("ref_kind", sa.Text, primary_key=True),
        sa.Column("ref", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    _create_jobs()
    op.create_table(
        "totals",
        sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
        sa.Column("family", sa.Text, primary_key=True),
        sa.Column("labels", sa.Text, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("buckets", sa.Text),
        sqlite_with_rowid=False,
    )


def _create_runs() -> None:
    """The runs, with an index that holds only the few unfinished ones."""
    op.create_table(
        "runs",
        sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
        sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("ref_kind", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("queue_seconds", sa.Float),
        sa.Column("coverage_ratio", sa.Float),
        sa.Column("username", sa.Text),
        sa.Column("web_url", sa.Text),
        sa.Column("selected", sa.Boolean, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("stamps", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "runs_unfinished",
        "runs",
        ["unit_id", "status"],
        sqlite_where=sa.text(UNFINISHED),
        postgresql_where=sa.text(UNFINISHED),
    )


def _create_jobs() -> None:
    """The jobs, found by id and by run."""
    op.create_table(
        "jobs",
        sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("queue_seconds", sa.Float),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("allow_failure", sa.Boolean, nullable=False),
        sa.Column("stamps", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("jobs_by_run", "jobs", ["unit_id", "run_id"])
