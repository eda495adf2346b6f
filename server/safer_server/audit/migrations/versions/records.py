"""The tables as they first were."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "records",
        sa.Column("trace_id", sa.Text(), primary_key=True),
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text()),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text()),
        sa.Column("category", sa.Text()),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.UniqueConstraint("server", "sequence", name="records_chain"),
    )
    op.create_index("records_time", "records", ["time", "trace_id"])
    op.create_table(
        "tombstones",
        sa.Column("server", sa.Text(), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("tombstone", sa.Text(), nullable=False),
    )
