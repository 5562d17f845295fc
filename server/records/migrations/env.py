"""Alembic's entry: runs the migrations on the connection that server.records.migrate hands over."""

from __future__ import annotations

from alembic import context

from server.records.tables import METADATA, VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
