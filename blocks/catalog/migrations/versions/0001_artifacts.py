"""Artifacts: one waybill per file in custody, and which run made or reused it."""

from alembic import op

revision = "0001"
down_revision = None

_UP = (
    """
    create table artifacts (
        file_id          uuid primary key,
        state            text not null check (state in ('pending', 'available', 'deleting', 'deleted')),
        kind             text not null check (kind in ('stage_output', 'upload', 'transfer', 'export')),
        filename         text not null,
        source_file      text not null,
        source_name      text not null generated always as (left(regexp_replace(source_file, '^.*/', ''), 512)) stored,
        document_sha256  text not null check (length(document_sha256) = 64),
        stage            smallint check (stage > 0),
        stage_name       text,
        stage_key        text,
        run_id           uuid,
        media_type       text not null,
        size             bigint check (size >= 0),
        sha256           text check (length(sha256) = 64),
        stored_size      bigint check (stored_size >= 0),
        stored_sha256    text check (length(stored_sha256) = 64),
        location         text not null unique,
        metadata         jsonb not null default '{}',
        report           jsonb not null default '{}',
        created_at       timestamptz not null default clock_timestamp(),
        expires_at       timestamptz not null,
        deleted_at       timestamptz,
        -- What is available has been hashed; nothing else may be handed out.
        check (state <> 'available' or (size is not null and sha256 is not null and stored_size is not null
               and stored_sha256 is not null)),
        check ((kind = 'stage_output') = (stage is not null)),
        check ((stage is null) = (stage_key is null) and (stage is null) = (stage_name is null)),
        check ((state = 'deleted') = (deleted_at is not null))
    )
    """,
    "comment on table artifacts is 'One waybill per file in custody. Readers reach a blob only through its row.'",
    "comment on column artifacts.document_sha256 is 'Content hash of the document this file was made from; for an upload its own.'",
    "comment on column artifacts.stage_key is 'sha256 of stage name, stage version, canonical options and input hashes: equal keys give equal outputs.'",
    "comment on column artifacts.location is 'Storage key, made by Waybill and never used twice.'",
    "comment on column artifacts.source_name is 'The last part of the path or URL, which names a source when its path is not known.'",
    # Every list is answered from one of these in the order it is shown: newest first, file_id as the tie-break. A B-tree
    # takes keys of up to 2.7 kB, and a path or a signed URL may be longer: of a source the beginning is indexed.
    "create index artifacts_by_time on artifacts (created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_source on artifacts (left(source_file, 512), created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_source_name on artifacts (source_name, created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_stage on artifacts (stage, created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_kind on artifacts (kind, created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_document on artifacts (document_sha256, created_at desc, file_id desc) where state = 'available'",
    "create index artifacts_by_stage_key on artifacts (stage_key, created_at desc) where state = 'available' and stage_key is not null",
    "create index artifacts_unfinished on artifacts (run_id, state) where state in ('pending', 'deleting')",
    """
    create table run_outputs (
        run_id       uuid not null,
        file_id      uuid not null references artifacts on delete cascade,
        source_file  text not null,
        reused       boolean not null,
        recorded_at  timestamptz not null default clock_timestamp(),
        primary key (run_id, file_id, source_file)
    )
    """,
    "comment on table run_outputs is 'Every file a run delivered, whether it made it or found it made already.'",
    "create index run_outputs_by_file on run_outputs (file_id)",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table run_outputs")
    op.execute("drop table artifacts")
