"""Where a file's manifest is: next to its blob, or inline, in the header of the blob."""

from alembic import op

revision = "0021"
down_revision = "0020"

_UP = (
    """
    alter table artifacts
        add column manifest text not null default 'separate' constraint artifacts_manifest check (manifest in ('separate', 'inline')),
        add constraint artifacts_inline_is_sealed check (manifest = 'separate' or encrypted_for is not null)
    """,
    "comment on column artifacts.manifest is 'separate: an object of its own next to the blob; inline: in the age header of the blob, whose bytes are then one object. Of a move, both places have the same.'",
)


def upgrade() -> None:
    """Add the column: every file that is stored has its manifest next to it."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Remove it: files with an inline manifest stay readable, and a rebuild by that version does not find them."""
    op.execute("alter table artifacts drop column manifest")
