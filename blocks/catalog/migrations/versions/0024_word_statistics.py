"""Search index: Postgres knows four times as many of the frequent words, so that search looks none of them up in vain.

With the default of 100, statistics have the thousand most frequent words: in a million passages those that more than
12,000 have. Search leaves out words that more than 3,000 have (docs/adr/0031-search-at-scale.md). Takes effect with the
next `analyze`, which autovacuum does by itself.
"""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute("alter table indexed_chunks alter column words set statistics 400")


def downgrade() -> None:
    op.execute("alter table indexed_chunks alter column words set statistics -1")
