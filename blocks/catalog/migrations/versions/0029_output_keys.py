"""The key of the outputs of runs has a hash of the source in place of the source, which was half of the index.

Two sources of one file in one run would have to have the same 64 bits for one of them to be left out. Writers of these
rows wait while it runs.
"""

from alembic import op

revision = "0029"
down_revision = "0028"

_UP = (
    "create unique index run_outputs_once on run_outputs (file_id, run_id, hashtextextended(source_file, 0))",
    "alter table run_outputs drop constraint run_outputs_pkey",
    # They were so as parts of the primary key, and would not be any more.
    "alter table run_outputs alter column run_id set not null, alter column file_id set not null, alter column source_file set not null",
)
_DOWN = (
    "alter table run_outputs add primary key (file_id, run_id, source_file)",
    "drop index run_outputs_once",
)


def upgrade() -> None:
    """Replace the index; no row changes."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Put the primary key back."""
    for statement in _DOWN:
        op.execute(statement)
