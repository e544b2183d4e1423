"""Search index: the graph of vectors holds half as many bytes, and costs less for each passage.

Only where there are no passages yet: building the graph of many would lock them for as long as that takes. Where there
are, a gateway builds it next to the older one (`blocks/search_index/vector_index.py`).
"""

from alembic import op

revision = "0019"
down_revision = "0018"

_UP = """
    do $$ begin
        if to_regtype('halfvec') is not null and not exists (select from indexed_chunks) then
            drop index indexed_chunks_by_embedding;
            create index indexed_chunks_by_half_vector
                on indexed_chunks using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
              with (m = 16, ef_construction = 64);
        end if;
    end $$
"""

_DOWN = (
    "drop index if exists indexed_chunks_by_half_vector",
    "create index if not exists indexed_chunks_by_embedding on indexed_chunks using hnsw (embedding vector_cosine_ops)",
)


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
