"""Alembic's entry point; the connection is handed over by exporter.store.connect."""

from alembic import context

from exporter.store.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transaction_per_migration=False,
)
context.run_migrations()
