"""Runs the migrations on the connection that `blocks.catalog.migrate` hands over, in that connection's transaction.

No engine, no URL and no logging set-up here: a library that migrates at start must not change its host's logging.
"""

from alembic import context

from blocks.catalog.migrate import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
