"""Counts of what an ingestion changed are stored without zeros: the view of files shows them as before.

Rows that have the zeros keep them.
"""

from alembic import op

revision = "0027"
down_revision = "0026"

# The metadata of a file with the zeros.
_WHOLE = """
    case when stage_name = 'ingestor' and jsonb_typeof(metadata -> 'rows') = 'object'
         then jsonb_set(metadata, '{rows}', (
              select coalesce(jsonb_object_agg(name, case when jsonb_typeof(counts) = 'object'
                         then '{"removed": 0, "updated": 0, "inserted": 0, "unchanged": 0}' || counts
                         else counts end), '{}')
                from jsonb_each(metadata -> 'rows') as of_table (name, counts)))
         else metadata end
"""
_VIEW = """
    create or replace view waybill_export.artifacts with (security_barrier) as
    select file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key, run_id, media_type,
           size, sha256, stored_size, {metadata} as metadata, report, created_at, expires_at, deleted_at, verified_at,
           damaged_at, pinned_at, pin_note
      from artifacts
     where state in ('available', 'deleted')
"""


def upgrade() -> None:
    """Let the view fill them in; no row changes."""
    op.execute(_VIEW.replace("{metadata}", _WHOLE))


def downgrade() -> None:
    """Write the zeros into the rows, and show the metadata as they are."""
    op.execute(f"update artifacts set metadata = {_WHOLE} where stage_name = 'ingestor'")  # noqa: S608 - a constant
    op.execute(_VIEW.replace("{metadata}", "metadata"))
