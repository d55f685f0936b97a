"""Reports from elsewhere, in free text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """A table of its own: nothing that is there changes."""
    op.create_table(
        "reported",
        sa.Column("reported_key", sa.String(length=16), nullable=False),
        sa.Column("study_key", sa.String(length=16), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reported_key", name="pk_reported"),
        sa.UniqueConstraint("sequence", name="uq_reported_sequence"),
    )
    op.create_index("ix_reported_study_key", "reported", ["study_key"], unique=False)
    op.create_index("ix_reported_patient_key", "reported", ["patient_key"], unique=False)


def downgrade() -> None:
    """The reports are lost; an audit trail that recorded some then names them as gone."""
    op.drop_index("ix_reported_patient_key", table_name="reported")
    op.drop_index("ix_reported_study_key", table_name="reported")
    op.drop_table("reported")
