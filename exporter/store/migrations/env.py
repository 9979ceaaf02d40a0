"""Alembic's entry point; the connection is handed over by exporter.store.migrate."""

from alembic import context

from exporter.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
