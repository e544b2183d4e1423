"""Hand-over: remote workers, transfers of files to and from others, and the jobs that workers take."""

from alembic import op

revision = "0011"
down_revision = "0010"

_UP = (
    """
    create table workers (
        name         text primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
        recipient    text not null,
        labels       text[] not null default '{}',
        version      text,
        address      text,
        enrolled_at  timestamptz not null default clock_timestamp(),
        enrolled_by  text not null,
        last_seen_at timestamptz,
        revoked_at   timestamptz
    )
    """,
    "comment on table workers is 'Machines that run stages without access to storage and catalogue. Each has an age key pair of its own.'",
    "comment on column workers.recipient is 'The public key. What is handed to the worker is encrypted for it.'",
    "comment on column workers.labels is 'What it may take: a job for another label is never given to it.'",
    # A revoked worker keeps its row, because the history names it; its key must not come back under another name.
    "create unique index workers_by_recipient on workers (recipient)",
    """
    create table worker_codes (
        code_sha256 bytea primary key check (length(code_sha256) = 32),
        name        text,
        labels      text[] not null default '{}',
        created_by  text not null,
        created_at  timestamptz not null default clock_timestamp(),
        expires_at  timestamptz not null,
        used_at     timestamptz,
        used_by     text references workers on delete set null,
        check (used_at is not null or used_by is null)
    )
    """,
    "comment on table worker_codes is 'One-time codes for enrolment, as hashes. A code enrols one worker.'",
    "create index worker_codes_by_expiry on worker_codes (expires_at)",
    "create index worker_codes_by_worker on worker_codes (used_by) where used_by is not null",
    """
    create table assignments (
        assignment_id text primary key check (assignment_id ~ '^asg_[0-9a-f]{16}$'),
        run_id        uuid not null,
        stage         smallint not null check (stage > 0),
        stage_name    text not null,
        stage_version text not null,
        label         text not null,
        state         text not null default 'waiting'
                      check (state in ('waiting', 'claimed', 'completed', 'failed', 'cancelled')),
        worker        text references workers,
        remote_run_id uuid,
        attempts      smallint not null default 0,
        claimed_at    timestamptz,
        claimed_until timestamptz,
        error         text,
        created_at    timestamptz not null default clock_timestamp(),
        ended_at      timestamptz,
        expires_at    timestamptz not null,
        check ((state = 'claimed') = (claimed_until is not null)),
        check (state <> 'claimed' or worker is not null),
        check ((state in ('waiting', 'claimed')) = (ended_at is null))
    )
    """,
    "comment on table assignments is 'Jobs of one stage that a run gives to a remote worker together. One worker has them at a time.'",
    "comment on column assignments.claimed_until is 'The worker lost it unless it was heard of until then.'",
    "create index assignments_by_run on assignments (run_id)",
    "create index assignments_by_worker on assignments (worker) where state = 'claimed'",
    "create index assignments_open on assignments (expires_at) where state in ('waiting', 'claimed')",
    "create index assignments_ended on assignments (ended_at) where ended_at is not null",
    """
    create table transfers (
        transfer_id    text primary key check (transfer_id ~ '^trf_[0-9a-f]{16}$'),
        direction      text not null check (direction in ('download', 'upload')),
        state          text not null default 'pending'
                       check (state in ('pending', 'in_progress', 'completed', 'failed', 'expired', 'cancelled')),
        worker         text references workers,
        assignment_id  text references assignments on delete set null,
        file_id        uuid references artifacts on delete set null,
        filename       text not null,
        media_type     text not null,
        recipient      text,
        sealed_for     text not null check (sealed_for in ('recipient', 'storage', 'unknown')),
        header         bytea,
        replaced_bytes integer not null default 0 check (replaced_bytes >= 0),
        size           bigint check (size >= 0),
        sha256         text check (length(sha256) = 64),
        content_size   bigint check (content_size >= 0),
        content_sha256 text check (length(content_sha256) = 64),
        done           int8multirange not null default '{}',
        done_bytes     bigint not null default 0 check (done_bytes >= 0),
        sent_bytes     bigint not null default 0 check (sent_bytes >= 0),
        bytes_per_second double precision,
        metadata       jsonb not null default '{}',
        keep_for       interval,
        error          text,
        requested_by   text not null,
        run_id         uuid,
        created_at     timestamptz not null default clock_timestamp(),
        started_at     timestamptz,
        progress_at    timestamptz,
        ended_at       timestamptz,
        expires_at     timestamptz not null,
        -- Bytes of a download are known before the first is sent.
        check (direction = 'upload' or size is not null),
        check ((state in ('pending', 'in_progress')) = (ended_at is null)),
        check (direction = 'download' or (header is null and replaced_bytes = 0))
    )
    """,
    "comment on table transfers is 'One row per file that is handed to or received from another machine.'",
    "comment on column transfers.header is 'The age header for the recipient; it is sent in place of the first replaced_bytes of the stored bytes.'",
    "comment on column transfers.sealed_for is 'Who opens the bytes: the recipient, the storage key, or not known here (a passphrase, say).'",
    "comment on column transfers.size is 'Bytes that pass over the network; content_size is that of the content, where it is known.'",
    "comment on column transfers.done is 'Byte ranges that have been sent (download) or are stored (upload).'",
    "comment on column transfers.sent_bytes is 'All bytes that were sent or received, repeated ones too.'",
    "create index transfers_by_time on transfers (created_at desc, transfer_id desc)",
    "create index transfers_by_file on transfers (file_id) where file_id is not null",
    "create index transfers_open on transfers (expires_at) where state in ('pending', 'in_progress')",
    "create index transfers_ended on transfers (ended_at) where ended_at is not null",
    # Few: a header goes minutes after the end.
    "create index transfers_with_header on transfers (ended_at) where header is not null and ended_at is not null",
    "create index transfers_by_assignment on transfers (assignment_id) where assignment_id is not null",
    "create index transfers_by_worker on transfers (worker) where worker is not null and state in ('pending', 'in_progress')",
    """
    create table assignment_jobs (
        assignment_id text not null references assignments on delete cascade,
        ordinal       integer not null check (ordinal >= 0),
        state         text not null default 'waiting' check (state in ('waiting', 'completed', 'failed')),
        stage_key     text not null,
        document      jsonb not null,
        options       jsonb not null,
        inputs        jsonb not null,
        upload_id     text references transfers on delete set null,
        result        jsonb,
        error         jsonb,
        primary key (assignment_id, ordinal),
        check ((state = 'completed') = (result is not null)),
        check ((state = 'failed') = (error is not null))
    )
    """,
    "comment on table assignment_jobs is 'One document of an assignment.'",
    "comment on column assignment_jobs.inputs is 'File ids by the name under which the stage reads them.'",
    "create index assignment_jobs_by_upload on assignment_jobs (upload_id) where upload_id is not null",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table assignment_jobs, transfers, assignments, worker_codes, workers")
