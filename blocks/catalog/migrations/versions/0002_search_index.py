"""Search index: what ingestion knows of each document, by content, for full-text and vector search."""

from alembic import op

revision = "0002"
down_revision = "0001"

_UP = (
    """
    create table indexed_documents (
        document_id      bigint primary key generated always as identity,
        sha256           text not null unique check (length(sha256) = 64),
        title            text not null,
        source           text not null,
        media_type       text not null,
        language         text,
        pages            integer check (pages >= 0),
        created          text,
        summary          text not null,
        embedding_model  text,
        stemmer          text not null,
        stage_key        text not null,
        ingested_at      timestamptz not null default clock_timestamp()
    )
    """,
    "comment on table indexed_documents is 'One row per document content that is indexed, whichever run indexed it.'",
    "comment on column indexed_documents.created is 'As the document says it, often only a year or a day.'",
    "comment on column indexed_documents.stemmer is 'Text search configuration of the language; simple if there is none.'",
    "comment on column indexed_documents.stage_key is 'The ingestion that wrote the present rows.'",
    # Lets search learn the few stemmers in use without reading every document.
    "create index indexed_documents_by_stemmer on indexed_documents (stemmer)",
    # Titles and file names are found by a part of them and with a typing error.
    "create index indexed_documents_by_name on indexed_documents using gin ((title || ' ' || source) gin_trgm_ops)",
    """
    create table indexed_chunks (
        document_id   bigint not null references indexed_documents on delete cascade,
        ordinal       integer not null check (ordinal >= 0),
        chunk_id      text not null,
        heading_path  text[] not null,
        text          text not null,
        start_offset  integer not null check (start_offset >= 0),
        end_offset    integer not null check (end_offset >= start_offset),
        tokens        integer not null check (tokens >= 0),
        embedding     vector(384),
        words         tsvector not null,
        fingerprint   bytea not null,
        primary key (document_id, ordinal)
    )
    """,
    "comment on column indexed_chunks.start_offset is 'In characters of the Markdown that was chunked.'",
    """
    comment on column indexed_chunks.words is
        'Weight A: words of the text, B: their stems, C: title and headings. Made of the text without accents.'
    """,
    "comment on column indexed_chunks.fingerprint is 'Hash of all that the row is made from: equal means unchanged.'",
    "create index indexed_chunks_by_words on indexed_chunks using gin (words)",
    "create index indexed_chunks_by_embedding on indexed_chunks using hnsw (embedding vector_cosine_ops)",
    """
    create table indexed_facts (
        document_id    bigint not null references indexed_documents on delete cascade,
        ordinal        integer not null check (ordinal >= 0),
        fact_id        text not null,
        type           text not null,
        statement      text not null,
        quote          text not null,
        score          double precision,
        confidence     double precision,
        chunk_ordinal  integer,
        start_offset   integer,
        end_offset     integer,
        primary key (document_id, ordinal),
        foreign key (document_id, chunk_ordinal) references indexed_chunks on delete cascade
    )
    """,
    "comment on column indexed_facts.score is 'Orders the facts of one document.'",
    "comment on column indexed_facts.confidence is 'A language model''s own guess; null for facts found by rules.'",
    "comment on column indexed_facts.start_offset is 'Of the quote, in characters of its chunk.'",
    "create index indexed_facts_by_chunk on indexed_facts (document_id, chunk_ordinal)",
    """
    create table indexed_entities (
        document_id     bigint not null references indexed_documents on delete cascade,
        ordinal         integer not null check (ordinal >= 0),
        text            text not null,
        type            text not null,
        value           text,
        count           integer not null check (count >= 0),
        chunk_ordinals  integer[] not null,
        primary key (document_id, ordinal)
    )
    """,
    "comment on column indexed_entities.value is 'Normal form: ISO 8601 for a date, the long form of an acronym.'",
    """
    create table indexed_keywords (
        document_id  bigint not null references indexed_documents on delete cascade,
        ordinal      integer not null check (ordinal >= 0),
        text         text not null,
        score        double precision,
        primary key (document_id, ordinal)
    )
    """,
)

_DOWN = (
    "drop table indexed_keywords",
    "drop table indexed_entities",
    "drop table indexed_facts",
    "drop table indexed_chunks",
    "drop table indexed_documents",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
