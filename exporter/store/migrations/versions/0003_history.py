"""Indexes for lists and numbers of runs, and the numbers of each fortnight."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WIDTH = 14 * 86_400 * 1_000_000  # microseconds of a period

FILL = f"""
INSERT INTO periods (unit_id, period, status, source, ref_kind, runs, timed, seconds, queued, queue_seconds)
SELECT unit_id,
       created_at / {WIDTH} - CASE WHEN created_at % {WIDTH} < 0 THEN 1 ELSE 0 END,
       status, source, ref_kind,
       count(*), count(duration_seconds), coalesce(sum(duration_seconds), 0),
       count(queue_seconds), coalesce(sum(queue_seconds), 0)
FROM runs WHERE NOT deleted GROUP BY 1, 2, 3, 4, 5
"""


def upgrade() -> None:
    """Build the indexes, and the periods of the runs that are there."""
    op.add_column("units", sa.Column("pruned", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "periods",
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
    op.execute(FILL)
    op.create_index(
        "runs_of_unit",
        "runs",
        [
            *("unit_id", "created_at", "run_id", "deleted", "status", "source", "ref_kind", "ref"),
            *("duration_seconds", "queue_seconds"),
        ],
    )
    for column in ("created_at", "finished_at", "duration_seconds", "queue_seconds"):
        op.create_index(f"runs_by_{column}", "runs", [column, "unit_id", "run_id"])
