"""Retention: holds, readers of files, plans of what goes, and what a sweep has found."""

from alembic import op

revision = "0008"
down_revision = "0007"

_UP = (
    "alter table artifacts add column held_at timestamptz, add column hold_note text check (hold_note is null or held_at is not null), add column extended_at timestamptz, add column removed_because text",
    "comment on column artifacts.held_at is 'Since when a legal hold keeps the file; only an administrator lifts it.'",
    "comment on column artifacts.extended_at is 'When expires_at was last changed: a plan that is older does not remove the file.'",
    "comment on column artifacts.removed_because is 'The rule by which a retention policy removed it; null for a deletion by request.'",
    # What a run of the retention looks at, without reading what it will not touch.
    "create index artifacts_by_expiry on artifacts (expires_at) where state = 'available' and pinned_at is null and held_at is null",
    "create index artifacts_by_deletion on artifacts (deleted_at) where state = 'deleted'",
    """
    create table artifact_readers (
        file_id    uuid not null references artifacts on delete cascade,
        reader_id  uuid not null,
        read_until timestamptz not null,
        primary key (file_id, reader_id)
    )
    """,
    "comment on table artifact_readers is 'Files that are being read: none is removed before read_until, which a reader renews.'",
    "create index artifact_readers_by_end on artifact_readers (read_until)",
    """
    create table retention_plans (
        plan_id       uuid primary key,
        state         text not null default 'planned' check (state in ('planned', 'executing', 'done', 'abandoned')),
        digest        text not null,
        policy        jsonb not null,
        cutoff        timestamptz not null,
        created_at    timestamptz not null default clock_timestamp(),
        started_at    timestamptz,
        ended_at      timestamptz,
        files         bigint not null,
        bytes         bigint not null,
        over_cap      bigint not null default 0,
        renewals      bigint not null default 0,
        groups        jsonb not null,
        statistics    jsonb not null,
        check ((state in ('done', 'abandoned')) = (ended_at is not null))
    )
    """,
    "comment on table retention_plans is 'What a run of the retention removes, decided once: the dry run shows it, and the run executes exactly it.'",
    "comment on column retention_plans.digest is 'sha256 of all file ids with their rules.'",
    "comment on column retention_plans.cutoff is 'The time by which the policy judged, of this database''s clock.'",
    "comment on column retention_plans.over_cap is 'Files that would go too, but for the cap of one run.'",
    "comment on column retention_plans.groups is 'Files and bytes by rule and kind: what goes, and what stays and why.'",
    "create index retention_plans_by_time on retention_plans (created_at desc, plan_id)",
    "create index retention_plans_open on retention_plans (created_at) where state = 'executing'",
    """
    create table retention_batches (
        plan_id       uuid not null references retention_plans on delete cascade,
        number        integer not null,
        action        text not null check (action in ('remove', 'renew')),
        file_ids      uuid[] not null,
        rules         text[] not null,
        state         text not null default 'pending' check (state in ('pending', 'done')),
        claimed_by    bigint,
        removed       integer not null default 0,
        removed_bytes bigint not null default 0,
        kept          jsonb not null default '{}',
        failed        jsonb not null default '{}',
        primary key (plan_id, number),
        check (cardinality(file_ids) = cardinality(rules) and cardinality(file_ids) between 1 and 1000)
    )
    """,
    "comment on column retention_batches.claimed_by is 'The advisory lock of the process that works on it: free as soon as that session has ended.'",
    "comment on column retention_batches.kept is 'File ids with the reason why they stay after all: pinned, held, extended or read since.'",
    "comment on column retention_batches.failed is 'File ids with the error of their deletion, which a later run finishes.'",
    "create index retention_batches_open on retention_batches (plan_id, number) where state = 'pending'",
    """
    create table sweep_candidates (
        path          text primary key,
        what          text not null,
        first_seen_at timestamptz not null default clock_timestamp(),
        last_seen_at  timestamptz not null default clock_timestamp()
    )
    """,
    "comment on table sweep_candidates is 'Stored objects that no row knows: a sweep removes what an earlier one has seen already.'",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("sweep_candidates", "retention_batches", "retention_plans", "artifact_readers"):
        op.execute(f"drop table {table}")
    op.execute("drop index artifacts_by_deletion")
    op.execute("drop index artifacts_by_expiry")
    op.execute(
        "alter table artifacts drop column held_at, drop column hold_note, drop column extended_at, drop column removed_because"
    )
