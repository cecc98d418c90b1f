"""What Alembic runs: the versions that are missing, on the connection and in the transaction it is given."""

from alembic import context

from kvsync.ci.archive.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
