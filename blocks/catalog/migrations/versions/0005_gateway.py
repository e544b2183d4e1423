"""The gateway: API keys, the audit log, idempotent requests, and pinned files."""

from alembic import op

revision = "0005"
down_revision = "0004"

_UP = (
    "alter table artifacts add column pinned_at timestamptz, add column pin_note text check (pin_note is null or pinned_at is not null)",
    "comment on column artifacts.pinned_at is 'Since when the file is pinned, and kept past expires_at; null: it is not pinned.'",
    """
    create table api_keys (
        key_id              text primary key check (length(key_id) = 12),
        name                text not null,
        secret_sha256       bytea not null check (length(secret_sha256) = 32),
        scopes              text[] not null check (scopes <@ array['read', 'write', 'admin'] and cardinality(scopes) > 0),
        requests_per_minute integer check (requests_per_minute > 0),
        created_at          timestamptz not null default clock_timestamp(),
        expires_at          timestamptz,
        revoked_at          timestamptz,
        last_used_at        timestamptz
    )
    """,
    "comment on table api_keys is 'Keys for the HTTP API. Of the secret, 32 random bytes, only the hash is stored.'",
    "comment on column api_keys.requests_per_minute is 'Null: the default of the gateway.'",
    """
    create table audit_log (
        entry_id    bigint generated always as identity primary key,
        recorded_at timestamptz not null default clock_timestamp(),
        action      text not null,
        actor       text not null,
        file_id     uuid,
        run_id      uuid,
        client      text,
        request_id  text,
        detail      jsonb not null default '{}'
    )
    """,
    "comment on column audit_log.actor is 'key:ID for an API key, link for the holder of a signed link, cli:NAME for the account that ran a command.'",
    "create index audit_log_by_time on audit_log (recorded_at desc, entry_id desc)",
    "create index audit_log_by_file on audit_log (file_id, entry_id desc) where file_id is not null",
    "create index audit_log_by_actor on audit_log (actor, entry_id desc)",
    """
    create table idempotent_requests (
        key_id          text not null,
        idempotency_key text not null,
        claim           uuid not null,
        claimed_until   timestamptz not null,
        fingerprint     text,
        file_id         uuid,
        answer          jsonb,
        created_at      timestamptz not null default clock_timestamp(),
        primary key (key_id, idempotency_key),
        check (answer is null or fingerprint is not null)
    )
    """,
    "comment on table idempotent_requests is 'Requests with an Idempotency-Key: a repeated one gets the response of the first.'",
    "comment on column idempotent_requests.claim is 'The lease of the gateway that processes the request, which ends at claimed_until unless renewed: also when that gateway was killed.'",
    "comment on column idempotent_requests.fingerprint is 'Hash of the request, so that another request with the same key is detected.'",
    "create index idempotent_requests_by_time on idempotent_requests (created_at)",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in ("idempotent_requests", "audit_log", "api_keys"):
        op.execute(f"drop table {table}")
    op.execute("alter table artifacts drop column pinned_at, drop column pin_note")
