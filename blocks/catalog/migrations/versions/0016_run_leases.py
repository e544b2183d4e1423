"""Leases of runs, by which a dead run of any home is found from every other one."""

from alembic import op

revision = "0016"
down_revision = "0015"

_UP = (
    """
    create table run_leases (
        run_id      uuid primary key,
        holder      uuid not null,
        home        text not null,
        taken_at    timestamptz not null default clock_timestamp(),
        renewed_at  timestamptz not null default clock_timestamp(),
        given_up_at timestamptz
    )
    """,
    "comment on table run_leases is 'Runs whose process lives, and dead ones until another run has cleared up after them. All times are of this server.'",
    "comment on column run_leases.holder is 'The process: sessions of its own have this in their application_name.'",
    "comment on column run_leases.home is 'The id of the home that the process works in.'",
    "comment on column run_leases.given_up_at is 'Since when the run counts as dead. Its process cannot renew the lease any more.'",
)


def upgrade() -> None:
    """Add the table."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove it: dead runs are then found by their own home alone."""
    op.execute("drop table run_leases")
