"""Search index: Postgres's statistics know four times as many frequent words, and fewer names.

- With the default of 100 they have the thousand most frequent words: in a million passages those that more than 12,000
  have. Search leaves out words that more than 3,000 have (docs/adr/0031-search-at-scale.md), and is not to look them up.
- The planner compares the name in a question with each name that they have: a hundred took a millisecond, ten do.

Takes effect with the next `analyze`, which autovacuum does by itself.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

_UP = (
    "alter table indexed_chunks alter column words set statistics 400",
    "alter index indexed_documents_by_name alter column 1 set statistics 10",
)
_DOWN = (
    "alter table indexed_chunks alter column words set statistics -1",
    "alter index indexed_documents_by_name alter column 1 set statistics -1",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
