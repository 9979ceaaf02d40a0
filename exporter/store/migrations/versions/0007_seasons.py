"""The numbers of each unit in eight weeks, whatever the source, so that those of years are few rows."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PERIODS = 4  # of a season

# From the periods, not from the runs: an instant even where there are millions of these.
FILL = f"""
INSERT INTO seasons (unit_id, season, status, runs, timed, seconds, queued, queue_seconds)
SELECT unit_id,
       period / {PERIODS} - CASE WHEN period % {PERIODS} < 0 THEN 1 ELSE 0 END,
       status, sum(runs), sum(timed), sum(seconds), sum(queued), sum(queue_seconds)
FROM periods GROUP BY 1, 2, 3
"""


def upgrade() -> None:
    """Build the table from the periods that are there."""
    op.create_table(
        "seasons",
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
    op.execute(FILL)
