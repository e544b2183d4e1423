"""The outputs of runs by file first: the primary key then finds the runs of a file, and the index by file can go.

The outputs of one run have an index of their own, which holds each run's id once. Writers and readers of these rows
wait while it runs: seen 2.6 seconds for a million rows, of which a document of five stages has six for each run.
"""

from alembic import op

revision = "0023"
down_revision = "0022"

_UP = (
    "create index run_outputs_by_run on run_outputs (run_id)",
    "alter table run_outputs drop constraint run_outputs_pkey, add primary key (file_id, run_id, source_file)",
    "drop index run_outputs_by_file",
)
_DOWN = (
    "create index run_outputs_by_file on run_outputs (file_id)",
    "alter table run_outputs drop constraint run_outputs_pkey, add primary key (run_id, file_id, source_file)",
    "drop index run_outputs_by_run",
)


def upgrade() -> None:
    """Replace the indexes; no row changes."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Put the former ones back."""
    for statement in _DOWN:
        op.execute(statement)
