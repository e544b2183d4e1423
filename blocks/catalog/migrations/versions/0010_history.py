"""History: what trimming looks for is found by an index, and the tables that shrink every night are vacuumed after it."""

from alembic import op

revision = "0010"
down_revision = "0009"

# A night removes about an eighth of a week's rows. By default Postgres vacuums a table when a fifth of it is dead, so
# the space of two nights would stay unused.
_SHRINKING = ("webhook_events", "webhook_deliveries", "webhook_attempts", "artifacts", "run_outputs", "audit_log")

_UP = (
    "create index webhook_runs_by_time on webhook_runs (recorded_at)",
    "create index webhook_runs_by_endpoint on webhook_runs (endpoint_id)",
    "create index webhook_endpoints_by_secret on webhook_endpoints (secret_id) where secret_id is not null",
    *(f"alter table {table} set (autovacuum_vacuum_scale_factor = 0.05)" for table in _SHRINKING),
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for table in _SHRINKING:
        op.execute(f"alter table {table} reset (autovacuum_vacuum_scale_factor)")
    op.execute("drop index webhook_runs_by_time, webhook_runs_by_endpoint, webhook_endpoints_by_secret")
