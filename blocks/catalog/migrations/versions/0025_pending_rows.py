"""Rows of files that are being stored hold only what is read of them: the rest is written when the file is available.

Such a row is written once more as a whole when its file becomes available, so what it held before is thrown away.
"""

from alembic import op

revision = "0025"
down_revision = "0024"

_LATER = ("kind", "source_file", "source_name", "media_type")

_UP = (
    f"alter table artifacts {', '.join(f'alter column {name} drop not null' for name in _LATER)}",
    f"alter table artifacts add constraint artifacts_described check (state = 'pending' or ({' and '.join(f'{name} is not null' for name in _LATER)}))",
    "comment on column artifacts.state is 'pending: it is being stored, and kind, stage, source and media type may still be missing; then available, deleting, deleted.'",
)
_DOWN = (
    # Such a file is given up later, or its row is written as a whole.
    "update artifacts set kind = coalesce(kind, 'upload'), source_file = coalesce(source_file, filename), media_type = coalesce(media_type, 'application/octet-stream') where state = 'pending'",
    "comment on column artifacts.state is null",
    "alter table artifacts drop constraint artifacts_described",
    f"alter table artifacts {', '.join(f'alter column {name} set not null' for name in _LATER)}",
)


def upgrade() -> None:
    """Let pending rows leave them out; no row changes."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Require them again: files that are being stored get values that no reader sees."""
    for statement in _DOWN:
        op.execute(statement)
