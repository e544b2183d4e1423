"""Webhooks: events, endpoints, deliveries and attempts; up to when Prefect's history was read."""

from alembic import op

revision = "0004"
down_revision = "0003"

_UP = (
    """
    create table webhook_secrets (
        secret_id       uuid primary key,
        shared          boolean not null default false,
        sealed          bytea not null,
        previous_sealed bytea,
        previous_until  timestamptz,
        created_at      timestamptz not null default clock_timestamp(),
        rotated_at      timestamptz,
        check ((previous_sealed is null) = (previous_until is null))
    )
    """,
    "comment on table webhook_secrets is 'Secrets that sign webhooks; encrypted, so that read access to the database is not enough to sign.'",
    "comment on column webhook_secrets.shared is 'The one secret of all URLs that are given with a run.'",
    "comment on column webhook_secrets.previous_sealed is 'The secret before the last rotation; signs in addition to the new one until previous_until.'",
    "create unique index webhook_secrets_shared on webhook_secrets (shared) where shared",
    """
    create table webhook_endpoints (
        endpoint_id      uuid primary key,
        origin           text not null check (origin in ('registered', 'block', 'run')),
        name             text check ((origin = 'block') = (name is not null)),
        url              text not null,
        event_types      text[],
        description      text not null default '',
        secret_id        uuid references webhook_secrets,
        state            text not null default 'enabled' check (state in ('enabled', 'disabled', 'removed')),
        disabled_because text,
        failures         integer not null default 0,
        held_until       timestamptz,
        held_because     text,
        owner            uuid,
        owned_until      timestamptz,
        created_at       timestamptz not null default clock_timestamp(),
        -- An endpoint that is not removed has a secret.
        check (state = 'removed' or secret_id is not null),
        check ((held_until is null) = (held_because is null)),
        check ((owner is null) = (owned_until is null))
    )
    """,
    "comment on column webhook_endpoints.origin is 'registered by a person, following a Prefect block, or given with a run.'",
    "comment on column webhook_endpoints.event_types is 'Event types that are sent to it; null: all.'",
    "comment on column webhook_endpoints.failures is 'Attempts that failed since the last success; after too many, attempts pause.'",
    "comment on column webhook_endpoints.owner is 'The dispatcher that has its lease, which ends at owned_until unless renewed. There is one at a time, so that the limits of an endpoint hold for any number of dispatchers.'",
    # A URL may be longer than a key of a B-tree may be.
    "create unique index webhook_endpoints_of_runs on webhook_endpoints (md5(url)) where origin = 'run' and state <> 'removed'",
    "create unique index webhook_endpoints_of_blocks on webhook_endpoints (name) where origin = 'block' and state <> 'removed'",
    """
    create table webhook_runs (
        run_id      uuid primary key,
        endpoint_id uuid not null references webhook_endpoints,
        recorded_at timestamptz not null default clock_timestamp()
    )
    """,
    "comment on table webhook_runs is 'The endpoint of a run that was given a webhook URL of its own.'",
    """
    create table webhook_events (
        event_id    text primary key,
        event_type  text not null,
        task_id     uuid,
        source_file text,
        occurred_at timestamptz not null,
        recorded_at timestamptz not null default clock_timestamp(),
        body        bytea not null,
        whole_body  bytea
    )
    """,
    "comment on column webhook_events.event_id is 'evt_ and the id of the Prefect state, or a UUID computed from what happened: nothing is recorded twice.'",
    "comment on column webhook_events.task_id is 'The flow run; null for an event without a run.'",
    "comment on column webhook_events.body is 'The bytes that are signed and sent.'",
    "comment on column webhook_events.whole_body is 'The whole payload, which the link in a shortened body leads to.'",
    "create index webhook_events_by_time on webhook_events (recorded_at desc, event_id)",
    "create index webhook_events_by_task on webhook_events (task_id, occurred_at)",
    # Runs whose crash was recorded, and which may still end otherwise.
    "create index webhook_events_crashed on webhook_events (recorded_at) where event_type = 'task_crashed'",
    """
    create table webhook_deliveries (
        delivery_id uuid primary key default gen_random_uuid(),
        event_id    text not null references webhook_events on delete cascade,
        endpoint_id uuid not null references webhook_endpoints,
        state       text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
        attempts    integer not null default 0,
        due_at      timestamptz not null default clock_timestamp(),
        created_at  timestamptz not null default clock_timestamp(),
        settled_at  timestamptz,
        unique (event_id, endpoint_id),
        check ((state = 'pending') = (settled_at is null))
    ) with (fillfactor = 80)
    """,
    "comment on column webhook_deliveries.attempts is 'Attempts since it was created or replayed, by which the schedule counts.'",
    "create index webhook_deliveries_due on webhook_deliveries (endpoint_id, due_at, delivery_id) where state = 'pending'",
    "create index webhook_deliveries_by_time on webhook_deliveries (created_at desc, delivery_id desc)",
    "create index webhook_deliveries_by_endpoint on webhook_deliveries (endpoint_id, created_at desc, delivery_id desc)",
    "create index webhook_deliveries_dead on webhook_deliveries (created_at desc, delivery_id desc) where state = 'dead'",
    """
    create table webhook_attempts (
        attempt_id   bigint generated always as identity primary key,
        delivery_id  uuid not null references webhook_deliveries on delete cascade,
        started_at   timestamptz not null,
        milliseconds real not null,
        status       smallint,
        peer         text,
        error        text,
        answer       text
    )
    """,
    "comment on column webhook_attempts.status is 'The HTTP status; null where none was received.'",
    "comment on column webhook_attempts.answer is 'The beginning of the response body, which may say why an attempt failed.'",
    "create index webhook_attempts_by_delivery on webhook_attempts (delivery_id, attempt_id)",
    """
    create table webhook_history_read (
        only_row   boolean primary key default true check (only_row),
        began_at   timestamptz not null default clock_timestamp(),
        read_until timestamptz not null default clock_timestamp()
    )
    """,
    "comment on table webhook_history_read is 'Up to when Prefect''s state history was compared with the events.'",
    "comment on column webhook_history_read.began_at is 'States before this time get no event.'",
    "insert into webhook_history_read default values",
    """
    create table webhook_runs_read (
        run_id   uuid primary key,
        state_id uuid not null,
        read_at  timestamptz not null default clock_timestamp()
    )
    """,
    "comment on table webhook_runs_read is 'The last state of a run up to which all events of it are recorded.'",
    "create index webhook_runs_read_by_time on webhook_runs_read (read_at)",
)

_TABLES = (
    "webhook_runs_read", "webhook_history_read", "webhook_attempts", "webhook_deliveries", "webhook_events",
    "webhook_runs", "webhook_endpoints", "webhook_secrets",
)  # fmt: skip


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"drop table {table}")
