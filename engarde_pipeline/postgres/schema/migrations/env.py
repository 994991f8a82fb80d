"""Alembic's entry: runs the migrations on the connection that `migrate` opened."""

from alembic import context

from engarde_pipeline.postgres.schema.migrate import VERSION_TABLE
from engarde_pipeline.postgres.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
