"""Time limits: a run may set one, and a remote worker that works for it needs to know it."""

from alembic import op

revision = "0012"
down_revision = "0011"

_UP = (
    "alter table assignments add column time_limit interval check (time_limit > interval '0')",
    """
    comment on column assignments.time_limit is
        'Processor time that a stage may use on one document; null: as the settings of the worker say.'
    """,
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("alter table assignments drop column time_limit")
