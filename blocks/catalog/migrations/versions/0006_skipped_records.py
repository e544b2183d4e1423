"""Skipped records: what could not be read and was left out, for the gateway to show."""

from alembic import op

revision = "0006"
down_revision = "0005"

_UP = (
    """
    create table skipped_records (
        kind       text not null,
        id         text not null,
        reason     text not null,
        first_seen timestamptz not null default clock_timestamp(),
        last_seen  timestamptz not null default clock_timestamp(),
        primary key (kind, id)
    )
    """,
    "comment on table skipped_records is 'Records that could not be read and were left out of a list, queue or loop; a thousand at most.'",
    "comment on column skipped_records.last_seen is 'When it was last met; an entry that nothing meets any more is removed.'",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table skipped_records")
