"""The index of files by kind leaves out the outputs of stages, which most files are.

A list of them follows the index by time, where most files are of that kind.
"""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Replace the index. Readers go on while the new one is built, and wait only for the exchange at the end."""
    _replace("state = 'available' and kind <> 'stage_output'")


def downgrade() -> None:
    """Put the former one back."""
    _replace("state = 'available'")


def _replace(condition: str) -> None:
    op.execute(f"create index artifacts_by_kind_new on artifacts (kind, created_at desc) where {condition}")
    op.execute("drop index artifacts_by_kind")
    op.execute("alter index artifacts_by_kind_new rename to artifacts_by_kind")
