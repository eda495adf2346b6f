"""What Alembic runs: the steps within the transaction of whoever asked for them."""

from alembic import context

from safer_server.audit.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
