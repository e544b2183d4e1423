"""Smaller indexes: each file has thirteen entries in them, which took more room than its row.

Of equal keys (files of a document, of a source, for a recipient) an index stores one, unless other columns make them
differ. Those columns only sorted the files of a source or a document, which are few; and an order by time needs no
tie-break in the index, since few files have the same time.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

# Name, table, former and new keys, condition.
_INDEXES = (
    ("artifacts_by_time", "artifacts", "created_at desc, file_id desc", "created_at desc", True),
    (
        "artifacts_by_source",
        "artifacts",
        "left(source_file, 512), created_at desc, file_id desc",
        "left(source_file, 512)",
        True,
    ),
    ("artifacts_by_source_name", "artifacts", "source_name, created_at desc, file_id desc", "source_name", True),
    ("artifacts_by_stage", "artifacts", "stage, created_at desc, file_id desc", "stage, created_at desc", True),
    ("artifacts_by_kind", "artifacts", "kind, created_at desc, file_id desc", "kind, created_at desc", True),
    ("artifacts_by_document", "artifacts", "document_sha256, created_at desc, file_id desc", "document_sha256", True),
    ("artifacts_by_recipient", "artifacts", "encrypted_for, file_id", "encrypted_for", True),
    ("webhook_events_by_time", "webhook_events", "recorded_at desc, event_id", "recorded_at desc", False),
)


def upgrade() -> None:
    """Replace the indexes. Readers go on while the new ones are built, and wait only for the exchange at the end."""
    _replace({name: new for name, _, _, new, _ in _INDEXES})


def downgrade() -> None:
    """Put the former ones back."""
    _replace({name: former for name, _, former, _, _ in _INDEXES})


def _replace(keys: dict[str, str]) -> None:
    for name, table, _, _, only_available in _INDEXES:
        condition = " where state = 'available'" if only_available else ""
        op.execute(f"create index {name}_new on {table} ({keys[name]}){condition}")
    for name, *_ in _INDEXES:
        op.execute(f"drop index {name}")
        op.execute(f"alter index {name}_new rename to {name}")
