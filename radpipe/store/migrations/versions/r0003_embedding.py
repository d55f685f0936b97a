"""A reader's embedding of each image that was read: what similar studies are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """A table of its own: nothing that is there changes. Studies read before have none until they are read again."""
    op.create_table(
        "embeddings",
        sa.Column("run_key", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("dims", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.run_key"], name="fk_embeddings_run_key_runs"),
        sa.PrimaryKeyConstraint("run_key", "sop_instance_uid", name="pk_embeddings"),
    )
    op.create_index("ix_embeddings_model_sha256", "embeddings", ["model_sha256"], unique=False)


def downgrade() -> None:
    """The embeddings are lost; reading the studies again makes them anew."""
    op.drop_index("ix_embeddings_model_sha256", table_name="embeddings")
    op.drop_table("embeddings")
