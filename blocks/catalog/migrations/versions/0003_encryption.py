"""Encryption, damage and rotation: the recipient of a stored file, and when its bytes were last verified."""

from alembic import op

revision = "0003"
down_revision = "0002"

_UP = (
    """
    alter table artifacts
        add column encrypted_for  text,
        add column header_sha256  text check (length(header_sha256) = 64),
        add column verified_at    timestamptz,
        add column damaged_at     timestamptz,
        add column damage         text,
        add column spare_location text unique,
        add constraint artifacts_sealed check ((encrypted_for is null) = (header_sha256 is null)),
        add constraint artifacts_damage check ((damaged_at is null) = (damage is null))
    """,
    "comment on column artifacts.encrypted_for is 'The age recipient the stored bytes are encrypted for; null: they are the content itself.'",
    "comment on column artifacts.header_sha256 is 'SHA-256 of the age header, which holds the encrypted file key: a stored file that was exchanged for another one is detected before a byte is read.'",
    "comment on column artifacts.verified_at is 'When the stored bytes were last read and verified.'",
    "comment on column artifacts.damaged_at is 'When the stored bytes were first found to be changed or missing; damage says how.'",
    "comment on column artifacts.spare_location is 'A second path where bytes of this file may be stored, and are to be removed: a move is under way or was interrupted.'",
    "create index artifacts_by_verification on artifacts (coalesce(verified_at, 'epoch'), file_id) where state = 'available'",
    "create index artifacts_by_recipient on artifacts (encrypted_for, file_id) where state = 'available'",
    "create index artifacts_moving on artifacts (file_id) where spare_location is not null",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop index artifacts_by_verification, artifacts_by_recipient, artifacts_moving")
    op.execute("""
        alter table artifacts
            drop column encrypted_for, drop column header_sha256, drop column verified_at, drop column damaged_at,
            drop column damage, drop column spare_location
    """)
