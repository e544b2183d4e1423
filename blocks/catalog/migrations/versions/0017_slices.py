"""Slices of runs: what a run that is spread over machines has given to other runs."""

from alembic import op

revision = "0017"
down_revision = "0016"

_UP = (
    """
    create table slices (
        parent_id  uuid not null,
        number     integer not null check (number >= 1),
        state      text not null default 'waiting' check (state in ('waiting', 'started', 'completed', 'lost')),
        attempt    integer not null default 1,
        run_id     uuid,
        documents  integer not null,
        sources    jsonb,
        result     jsonb,
        created_at timestamptz not null default clock_timestamp(),
        ended_at   timestamptz,
        primary key (parent_id, number),
        check ((state in ('waiting', 'started')) = (ended_at is null))
    )
    """,
    "create index slices_created_at on slices (created_at)",
    "create index slices_run_id on slices (run_id) where run_id is not null",
    "comment on table slices is 'Parts of the documents of a run, each of which a run of process-slice works on.'",
    "comment on column slices.run_id is 'The run that has this attempt; null until it is started.'",
    "comment on column slices.sources is 'The files, until the slice has ended.'",
    "comment on column slices.result is 'Counts, warnings, and the documents that failed.'",
)


def upgrade() -> None:
    """Add the table."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove it: runs that are spread over machines begin again."""
    op.execute("drop table slices")
