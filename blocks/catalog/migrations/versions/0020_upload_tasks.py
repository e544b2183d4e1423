"""Uploads that share a run: each has a task of its own, with its own id, state and webhook."""

from alembic import op

revision = "0020"
down_revision = "0019"

_UP = (
    """
    create table upload_tasks (
        task_id     uuid primary key,
        file_id     uuid not null,
        source_file text not null,
        filename    text not null,
        parameters  jsonb not null,
        run_key     text,
        run_id      uuid,
        state       text not null default 'waiting'
                    check (state in ('waiting', 'running', 'completed', 'failed', 'cancelled')),
        message     text,
        created_at  timestamptz not null default clock_timestamp(),
        claimed_at  timestamptz,
        started_at  timestamptz,
        ended_at    timestamptz,
        check ((ended_at is null) = (state in ('waiting', 'running'))),
        check (run_id is null or run_key is not null)
    )
    """,
    "comment on table upload_tasks is 'Uploads that share a run with others. Where one has a run to itself, Prefect has all of this.'",
    "comment on column upload_tasks.task_id is 'Stands for the id of a run in answers, events and run_outputs.'",
    "comment on column upload_tasks.parameters is 'Of the run, without its sources: uploads with the same ones share a run.'",
    "comment on column upload_tasks.run_key is 'The idempotency key in Prefect of the run that it was given to; null while it waits for one.'",
    "comment on column upload_tasks.run_id is 'That run, as soon as it is known to exist.'",
    "create index upload_tasks_to_start on upload_tasks (created_at) where state = 'waiting' and run_id is null",
    "create index upload_tasks_by_key on upload_tasks (run_key) where run_key is not null",
    "create index upload_tasks_by_run on upload_tasks (run_id) where run_id is not null",
    "create index upload_tasks_by_time on upload_tasks (created_at)",
)


def upgrade() -> None:
    """Add the table."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove it: uploads that wait for a run are forgotten, their files stay in custody."""
    op.execute("drop table upload_tasks")
