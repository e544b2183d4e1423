"""The SQL of documents, chunks and search; pure."""

# ruff: noqa: S608 - the parts are these constants

from typing import LiteralString

# Writing --------------------------------------------------------------------------------------------------------------

# The upsert locks the document's row to the end of the transaction: another ingestion of the same document waits here.
# `ingested_at` moves only when something did, so a repeated ingestion leaves equal rows.
PUT_DOCUMENT: LiteralString = """
    insert into indexed_documents as stored
           (sha256, title, source, media_type, language, pages, created, summary, embedding_model, stage_key, stemmer)
    values (%(sha256)s, %(title)s, %(source)s, %(media_type)s, %(language)s, %(pages)s, %(created)s, %(summary)s,
            %(embedding_model)s, %(stage_key)s,
            coalesce((select cfgname::text from pg_ts_config
                       where cfgname = %(stemmer)s and cfgnamespace = 'pg_catalog'::regnamespace), 'simple'))
    on conflict (sha256) do update
       set (title, source, media_type, language, pages, created, summary, embedding_model, stage_key, stemmer)
         = (excluded.title, excluded.source, excluded.media_type, excluded.language, excluded.pages, excluded.created,
            excluded.summary, excluded.embedding_model, excluded.stage_key, excluded.stemmer),
           ingested_at = case
               when (stored.title, stored.source, stored.media_type, stored.language, stored.pages, stored.created,
                     stored.summary, stored.embedding_model, stored.stage_key, stored.stemmer)
                    is distinct from
                    (excluded.title, excluded.source, excluded.media_type, excluded.language, excluded.pages,
                     excluded.created, excluded.summary, excluded.embedding_model, excluded.stage_key, excluded.stemmer)
               then excluded.ingested_at else stored.ingested_at end
    returning document_id, stemmer, xmax = 0 as is_new, ingested_at >= transaction_timestamp() as is_changed
"""

REMOVE_DOCUMENT: LiteralString = "delete from indexed_documents where sha256 = %(sha256)s"

CHUNK_FINGERPRINTS: LiteralString = "select ordinal, fingerprint from indexed_chunks where document_id = %s"

REMOVE_CHUNKS: LiteralString = "delete from indexed_chunks where document_id = %s and ordinal = any(%s)"

# Rows pass through a temporary table because Postgres computes the words. It stays for the life of the connection: one
# for each document would bloat the system catalogue.
STAGING: LiteralString = """
    create temporary table if not exists waybill_staged_chunks (
        ordinal integer, chunk_id text, heading_path text[], text text, start_offset integer, end_offset integer,
        tokens integer, embedding vector(384), fingerprint bytea, searchable text, headings text
    ) on commit delete rows
"""
EMPTY_STAGING: LiteralString = "truncate pg_temp.waybill_staged_chunks"
COPY_TO_STAGING: LiteralString = "copy pg_temp.waybill_staged_chunks from stdin (format binary)"
STAGING_TYPES = ("int4", "text", "text[]", "text", "int4", "int4", "int4", "vector", "bytea", "text", "text")

# The words of the text as they are (A), their stems in the document's language (B), title and headings both ways (C).
PUT_CHUNKS: LiteralString = """
    insert into indexed_chunks
           (document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding,
            fingerprint, words)
    select %(document_id)s, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding,
           fingerprint,
           setweight(to_tsvector('simple', searchable), 'A') || setweight(to_tsvector('simple', headings), 'C')
           || case when %(stemmer)s = 'simple' then '' else
                  setweight(to_tsvector(%(stemmer)s::regconfig, searchable), 'B')
                  || setweight(to_tsvector(%(stemmer)s::regconfig, headings), 'C')
              end
      from pg_temp.waybill_staged_chunks
     order by ordinal
    on conflict (document_id, ordinal) do update
       set (chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding, fingerprint, words)
         = (excluded.chunk_id, excluded.heading_path, excluded.text, excluded.start_offset, excluded.end_offset,
            excluded.tokens, excluded.embedding, excluded.fingerprint, excluded.words)
"""

# Reading --------------------------------------------------------------------------------------------------------------

HAS_DOCUMENT: LiteralString = """
    select exists (select from indexed_documents where sha256 = %(sha256)s and stage_key = %(stage_key)s)
"""

HAS_VECTORS: LiteralString = """
    select exists (select from indexed_documents where embedding_model = %(embedding_model)s)
"""

STATISTICS: LiteralString = """
    select (select count(*) from indexed_documents) as documents,
           (select count(*) from indexed_chunks) as chunks,
           (select count(embedding) from indexed_chunks) as vectors,
           (select count(*) from indexed_facts) as facts,
           (select count(*) from indexed_entities) as entities,
           (select count(*) from indexed_keywords) as keywords,
           (select sum(pg_total_relation_size(name::regclass)) from unnest(array[
               'indexed_documents', 'indexed_chunks', 'indexed_facts', 'indexed_entities', 'indexed_keywords'
           ]) name)::bigint as size_bytes
"""

# pgvector examines this many neighbours at most (default 40), so it must be no less than the number of candidates.
# Compiling the search to machine code would take longer than the search.
SEARCH_SETTINGS: LiteralString = """
    select set_config('hnsw.ef_search', %(candidates)s::text, true), set_config('jit', 'off', true)
"""

# With a filter the nearest neighbours may all be of other documents: the index is then read on. pgvector can since 0.8.
FILTERED_SETTINGS: LiteralString = """
    select set_config('hnsw.iterative_scan', 'strict_order', true) from pg_extension
     where extname = 'vector' and string_to_array(substring(extversion from '^[0-9]+[.][0-9]+'), '.')::int[] >= '{0,8}'
"""

# Walks the index from one stemmer to the next instead of reading every document. A row may name a configuration that
# this server has not (a newer one made it, say): its words are found unstemmed.
_STEMMERS: LiteralString = """
with recursive
stemmers (name) as (
    (select stemmer from indexed_documents order by stemmer limit 1)
    union all
    select (select stemmer from indexed_documents where stemmer > stemmers.name order by stemmer limit 1)
      from stemmers where stemmers.name is not null
),
known (name, configuration) as (
    select cfgname::text, oid::regconfig from pg_ts_config where cfgnamespace = 'pg_catalog'::regnamespace
)"""

# Documents of stemmers that this server does not know; a person needs to see no more than these.
UNKNOWN_STEMMERS: LiteralString = f"""{_STEMMERS}
select sha256, stemmer from indexed_documents
 where stemmer in (select name from stemmers where name is not null except select name from known)
 order by sha256 limit 100
"""

# The documents that filters leave, None for all. Planned with the value, so the planner knows how many there are.
_OF_DOCUMENTS: LiteralString = "(%(documents)s::bigint[] is null or document_id = any(%(documents)s::bigint[]))"

# Three rankings, by words, by vector and by name, joined by reciprocal rank fusion.
SEARCH: LiteralString = f"""{_STEMMERS},
configurations (name) as (
    select 'simple'::regconfig
    union
    select configuration from stemmers join known using (name)
),
readings (query) as (  -- the query in each spelling, and stemmed in each language of the index
    select websearch_to_tsquery('simple', spelling) from unnest(%(spellings)s::text[]) spelling
    union all
    select websearch_to_tsquery(name, %(text)s) from configurations
),
terms (word) as (  -- its words, without the stop words of any of the languages
    select word
      from unnest(%(words)s::text[], %(typed_words)s::text[]) given (word, typed)
     where not exists (select from configurations where numnode(plainto_tsquery(configurations.name, typed)) = 0)
),
asked (all_words, any_word) as materialized (
    select (select string_agg(format('(%%s)', query), ' | ')::tsquery
              from readings
             where querytree(query) not in ('', 'T')),  -- only exclusions: no index could answer it
           (select string_agg(format('(%%s)', reading), ' | ')::tsquery
              from terms, configurations, plainto_tsquery(configurations.name, word) reading
             where not %(exact)s and numnode(reading) > 0)
),
with_all_words as materialized (
    select document_id, ordinal, ts_rank(%(weights)s::real[], words, all_words) as rank
      from (select document_id, ordinal, words, all_words
              from asked, indexed_chunks
             where words @@ all_words and {_OF_DOCUMENTS}
             limit %(max_matches)s) matches
     order by rank desc, document_id, ordinal
     limit %(candidates)s
),
with_any_word as materialized (  -- searched only when too few chunks have all words
    select document_id, ordinal, ts_rank(%(weights)s::real[], words, any_word) as rank
      from (select document_id, ordinal, words, any_word
              from asked, indexed_chunks
             where words @@ any_word and {_OF_DOCUMENTS}
               and (select count(*) from with_all_words) < %(candidates)s
             limit %(max_matches)s) matches
     where not exists (select from with_all_words f
                        where f.document_id = matches.document_id and f.ordinal = matches.ordinal)
     order by rank desc, document_id, ordinal
     limit %(candidates)s
),
by_words as (
    select document_id, ordinal, has_all,
           row_number() over (order by has_all desc, rank desc, document_id, ordinal) as position
      from (select *, true as has_all from with_all_words union all select *, false from with_any_word) found
),
by_vector as (
    select document_id, ordinal, row_number() over (order by distance, document_id, ordinal) as position
      from (select document_id, ordinal, embedding <=> %(vector)s::vector as distance
              from indexed_chunks
             where embedding is not null and %(vector)s::vector is not null and {_OF_DOCUMENTS}
             order by embedding <=> %(vector)s::vector
             limit %(candidates)s) nearest
     where distance < 'NaN'  -- a vector of zeros has no direction
       and (not %(exact)s or (document_id, ordinal) in (select document_id, ordinal from by_words))
),
by_name as (  -- the first chunk of a document whose title or file name is like the query, also with a typing error
    select document_id, (select min(ordinal) from indexed_chunks c where c.document_id = named.document_id) as ordinal,
           row_number() over (order by similarity desc, document_id) as position
      from (select document_id, word_similarity(%(name)s, title || ' ' || source) as similarity
              from indexed_documents
             where not %(exact)s and %(name)s <%% (title || ' ' || source) and {_OF_DOCUMENTS}
             order by similarity desc, document_id
             limit %(candidates)s) named
),
fused as (
    select document_id, ordinal, sum(1.0::float8 / (%(rrf_k)s + position)) as score, array_agg(ranking) as found_by,
           bool_or(has_all) as has_all_words
      from (select document_id, ordinal, position, 'words' as ranking, has_all from by_words
            union all
            select document_id, ordinal, position, 'vector', false from by_vector
            union all
            select document_id, ordinal, position, 'name', false from by_name where ordinal is not null) ranked
     group by document_id, ordinal
     order by score desc, document_id, ordinal
     limit %(limit)s
)
select d.sha256, d.title, d.source, d.media_type, d.language, d.stemmer, c.chunk_id, c.ordinal,
       array(select part from unnest(c.heading_path) part where part is not null) as heading_path,
       c.text, c.start_offset as start, c.end_offset as end, fused.score, fused.found_by, fused.has_all_words,
       case when c.embedding <=> %(vector)s::vector < 'NaN'  -- a vector of zeros has no direction
            then least(1, greatest(0, 1 - (c.embedding <=> %(vector)s::vector))) end as similarity
  from fused
  join indexed_chunks c using (document_id, ordinal)
  join indexed_documents d using (document_id)
 order by fused.score desc, document_id, ordinal
"""
