"""Events of sources that keep no runs, each observed once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table that remembers which events are in the totals."""
    op.create_table(
        "observed",
        sa.Column("unit_id", sa.Integer, sa.ForeignKey("units.id"), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sqlite_with_rowid=False,
    )
