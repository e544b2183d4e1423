"""Forgetting: one row per document that is or was forgotten, so that what a killed process began is finished."""

from alembic import op

revision = "0013"
down_revision = "0012"

_UP = (
    """
    create table forgettings (
        forgetting_id uuid primary key,
        sha256        text not null check (length(sha256) = 64),
        state         text not null default 'under_way' check (state in ('under_way', 'done')),
        requested_by  text not null,
        contents      text[] not null default '{}',
        file_ids      uuid[] not null default '{}',
        run_ids       uuid[] not null default '{}',
        names         jsonb,
        traces        bytea,
        counts        jsonb not null default '{}',
        certificate   jsonb,
        began_at      timestamptz not null default clock_timestamp(),
        ended_at      timestamptz,
        check ((state = 'done') = (ended_at is not null)),
        -- What is done knows neither names nor traces of the text.
        check ((state = 'done') = (names is null) and (state = 'under_way' or traces is null))
    )
    """,
    "comment on table forgettings is 'Documents that are being forgotten, with what has still to be looked for, and certificates of those that were.'",
    "comment on column forgettings.contents is 'The hash of the document, and those of documents that were made from its outputs.'",
    "comment on column forgettings.names is 'The names that are looked for. Gone when all is done.'",
    "comment on column forgettings.traces is 'Hashes of word sequences, by which its text is recognised. Gone when all is done.'",
    "create unique index forgettings_under_way on forgettings (sha256) where state = 'under_way'",
    "create index forgettings_by_sha256 on forgettings (sha256, began_at desc)",
    "create index forgettings_by_end on forgettings (ended_at) where ended_at is not null",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table forgettings")
