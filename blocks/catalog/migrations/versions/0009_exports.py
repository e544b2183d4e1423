"""Exports: one row per export job, and the views that SQL from outside may read."""

from alembic import op

revision = "0009"
down_revision = "0008"

_UP = (
    """
    create table export_jobs (
        job_id        text primary key check (job_id ~ '^exp_[0-9a-f]{16}$'),
        export_type   text not null,
        format        text not null,
        compression   text,
        state         text not null default 'pending'
                      check (state in ('pending', 'running', 'completed', 'failed', 'cancelled', 'deleted')),
        parameters    jsonb not null default '{}',
        encrypted     boolean not null default false,
        keep_for      interval not null,
        filename      text,
        file_id       uuid references artifacts on delete set null,
        path          text,
        size          bigint check (size >= 0),
        sha256        text check (length(sha256) = 64),
        rows          bigint not null default 0 check (rows >= 0),
        rows_expected bigint check (rows_expected >= 0),
        notes         text[] not null default '{}',
        error         text,
        run_id        uuid,
        requested_by  text not null,
        claim         uuid,
        claimed_until timestamptz,
        created_at    timestamptz not null default clock_timestamp(),
        started_at    timestamptz,
        ended_at      timestamptz,
        expires_at    timestamptz,
        check ((state = 'running') = (claim is not null) and (claim is null) = (claimed_until is null)),
        check (state not in ('pending', 'running') or ended_at is null),
        check (state in ('pending', 'running') or (ended_at is not null and expires_at is not null)),
        -- What is completed has been written whole and hashed.
        check (state <> 'completed' or (filename is not null and size is not null and sha256 is not null))
    )
    """,
    "comment on table export_jobs is 'One row per export: what was asked for, how far it is, and where its file is until it expires.'",
    "comment on column export_jobs.parameters is 'What is exported: query, named connection or source. Holds no password.'",
    "comment on column export_jobs.path is 'Name of the file below the export storage path; null where the file is an artifact (file_id).'",
    "comment on column export_jobs.claim is 'The process that works on it, until claimed_until unless renewed.'",
    "create index export_jobs_by_time on export_jobs (created_at desc, job_id desc)",
    "create index export_jobs_by_file on export_jobs (file_id) where file_id is not null",
    "create index export_jobs_by_expiry on export_jobs (expires_at) where state in ('completed', 'failed', 'cancelled')",
    "create index export_jobs_running on export_jobs (claimed_until) where state = 'running'",
    # The views run with the rights of their owner, so a role that may read them needs no right to any table.
    # security_barrier: no function of a query sees a row that its view leaves out.
    "create schema waybill_export",
    "comment on schema waybill_export is 'What SQL from outside may read: no keys, no secrets, no signed links.'",
    """
    create view waybill_export.documents with (security_barrier) as
    select document_id, sha256, title, source, media_type, language, pages, created, summary, embedding_model, ingested_at
      from indexed_documents
    """,
    """
    create view waybill_export.chunks with (security_barrier) as
    select document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens from indexed_chunks
    """,
    """
    create view waybill_export.facts with (security_barrier) as
    select document_id, ordinal, fact_id, type, statement, quote, score, confidence, chunk_ordinal, start_offset, end_offset
      from indexed_facts
    """,
    """
    create view waybill_export.entities with (security_barrier) as
    select document_id, ordinal, text, type, value, count, chunk_ordinals from indexed_entities
    """,
    """
    create view waybill_export.artifacts with (security_barrier) as
    select file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key, run_id, media_type,
           size, sha256, stored_size, metadata, report, created_at, expires_at, deleted_at, verified_at, damaged_at,
           pinned_at, pin_note
      from artifacts
     where state in ('available', 'deleted')
    """,
    # Without the address of the endpoint, which often holds a secret of its receiver.
    """
    create view waybill_export.deliveries with (security_barrier) as
    select d.delivery_id, d.event_id, e.event_type, e.task_id, d.endpoint_id, d.state, d.attempts, d.created_at, d.due_at,
           d.settled_at
      from webhook_deliveries d join webhook_events e using (event_id)
    """,
    # Bodies hold signed links, which open files without a key.
    """
    create view waybill_export.events with (security_barrier) as
    select event_id, event_type, task_id, source_file, occurred_at, recorded_at,
           regexp_replace(convert_from(coalesce(whole_body, body), 'UTF8'), '([?&]token=)[^"&\\s]+', '\\1***', 'g') as body
      from webhook_events
    """,
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema waybill_export cascade")
    op.execute("drop table export_jobs")
