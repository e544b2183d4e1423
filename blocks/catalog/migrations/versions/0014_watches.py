"""Watches: which files of a watched place were seen, in which version, and which run has taken them."""

from alembic import op

revision = "0014"
down_revision = "0013"

_UP = (
    """
    create table watches (
        watch_id   text primary key check (watch_id ~ '^wat_[0-9a-f]{16}$'),
        source     text not null,
        created_at timestamptz not null default clock_timestamp(),
        looked_at  timestamptz,
        problem    text,
        problem_at timestamptz
    )
    """,
    "comment on table watches is 'Watched folders, globs and URLs. When they are looked at is a schedule of Prefect.'",
    "comment on column watches.problem is 'Why the last look failed; null after one that did not.'",
    """
    create table watched_files (
        watch_id      text not null references watches on delete cascade,
        source_sha256 bytea not null check (length(source_sha256) = 32),
        source        text not null,
        version       text not null,
        version_at    timestamptz not null default clock_timestamp(),
        seen_at       timestamptz not null default clock_timestamp(),
        state         text not null default 'seen'
                      check (state in ('seen', 'starting', 'running', 'done', 'failed', 'retry', 'cancelled')),
        taken_version text,
        tries         smallint not null default 0,
        run_key       text,
        run_id        uuid,
        taken_at      timestamptz,
        problem       text,
        primary key (watch_id, source_sha256)
    )
    """,
    "comment on table watched_files is 'Each file that a look has found. A version is taken by one run, and by another one only after a failure that may pass.'",
    "comment on column watched_files.source_sha256 is 'Of the source: an index entry has 2.7 kB at most, and a URL may be longer.'",
    "comment on column watched_files.version is 'Size and time of change, or ETag, as last seen.'",
    "comment on column watched_files.version_at is 'When this version was first seen: a file that still changes is not taken.'",
    "comment on column watched_files.run_key is 'The idempotency key of the run that takes it: a start that was killed is repeated with the same.'",
    "create index watched_files_by_state on watched_files (watch_id, state) where state in ('starting', 'running', 'retry')",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove them."""
    op.execute("drop table watched_files")
    op.execute("drop table watches")
