"""Alembic's entry: runs the revisions on the connection, and inside the transaction, that `database` hands over."""

from __future__ import annotations

from alembic import context

from radpipe.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite too, because `database` begins its transactions itself
)
with context.begin_transaction():
    context.run_migrations()
