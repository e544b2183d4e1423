"""Sessions of the page that were ended before their time, so that every gateway of a catalogue refuses them."""

from alembic import op

revision = "0015"
down_revision = "0014"

_UP = (
    """
    create table ended_sessions (
        session_sha256 bytea primary key check (length(session_sha256) = 32),
        expires_at     timestamptz not null
    )
    """,
    "comment on table ended_sessions is 'Sessions of the page from which a person has signed out. A row is of no use after expires_at.'",
    "comment on column ended_sessions.session_sha256 is 'Of the id that the signed token of the session holds.'",
)


def upgrade() -> None:
    """Add the table."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove it: who has signed out is forgotten, so a copy of a cookie opens the page again until it expires."""
    op.execute("drop table ended_sessions")
