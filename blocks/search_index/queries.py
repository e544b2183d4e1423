"""The SQL of documents, chunks and search; pure."""

# ruff: noqa: S608 - the parts are these constants

from typing import LiteralString

# Writing --------------------------------------------------------------------------------------------------------------

# The upsert locks the documents' rows to the end of the transaction: another ingestion of one of them waits here. They
# are locked in the order of their sha256, so that two ingestions with documents in common take turns. `ingested_at`
# moves only when something did, so a repeated ingestion leaves equal rows.
PUT_DOCUMENTS: LiteralString = """
    insert into indexed_documents as stored
           (sha256, title, source, media_type, language, pages, created, summary, embedding_model, stage_key, stemmer)
    select sha256, title, source, media_type, language, pages, created, summary, embedding_model, stage_key,
           coalesce((select cfgname::text from pg_ts_config
                      where cfgname = stemmer and cfgnamespace = 'pg_catalog'::regnamespace), 'simple')
      from unnest(%(sha256)s::text[], %(title)s::text[], %(source)s::text[], %(media_type)s::text[],
                  %(language)s::text[], %(pages)s::integer[], %(created)s::text[], %(summary)s::text[],
                  %(embedding_model)s::text[], %(stage_key)s::text[], %(stemmer)s::text[])
           as given (sha256, title, source, media_type, language, pages, created, summary, embedding_model, stage_key,
                     stemmer)
     order by sha256
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
    returning sha256, document_id, stemmer, xmax = 0 as is_new, ingested_at >= transaction_timestamp() as is_changed
"""

REMOVE_DOCUMENT: LiteralString = "delete from indexed_documents where sha256 = %(sha256)s"

CHUNK_FINGERPRINTS: LiteralString = """
    select document_id, ordinal, fingerprint from indexed_chunks where document_id = any(%s)
"""

REMOVE_CHUNKS: LiteralString = """
    delete from indexed_chunks using unnest(%s::bigint[], %s::integer[]) as gone (of_document, place)
     where document_id = of_document and ordinal = place
"""

# Rows pass through a temporary table because Postgres computes the words. It stays for the life of the connection: one
# for each transaction would bloat the system catalogue.
STAGING: LiteralString = """
    create temporary table if not exists waybill_staged_chunks (
        document_id bigint, stemmer text, ordinal integer, chunk_id text, heading_path text[], text text,
        start_offset integer, end_offset integer, tokens integer, embedding vector(384), fingerprint bytea,
        searchable text, headings text
    ) on commit delete rows
"""
# Not truncated, which would write to the system catalogue each time.
EMPTY_STAGING: LiteralString = "delete from pg_temp.waybill_staged_chunks"
COPY_TO_STAGING: LiteralString = "copy pg_temp.waybill_staged_chunks from stdin (format binary)"
STAGING_TYPES = (
    "int8", "text", "int4", "text", "text[]", "text", "int4", "int4", "int4", "vector", "bytea", "text", "text",
)  # fmt: skip

# The words of the text as they are (A), their stems in the document's language (B), title and headings both ways (C).
PUT_CHUNKS: LiteralString = """
    insert into indexed_chunks
           (document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding,
            fingerprint, words)
    select document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding, fingerprint,
           setweight(to_tsvector('simple', searchable), 'A') || setweight(to_tsvector('simple', headings), 'C')
           || case when stemmer = 'simple' then '' else
                  setweight(to_tsvector(stemmer::regconfig, searchable), 'B')
                  || setweight(to_tsvector(stemmer::regconfig, headings), 'C')
              end
      from pg_temp.waybill_staged_chunks
     order by document_id, ordinal
    on conflict (document_id, ordinal) do update
       set (chunk_id, heading_path, text, start_offset, end_offset, tokens, embedding, fingerprint, words)
         = (excluded.chunk_id, excluded.heading_path, excluded.text, excluded.start_offset, excluded.end_offset,
            excluded.tokens, excluded.embedding, excluded.fingerprint, excluded.words)
"""

# Reading --------------------------------------------------------------------------------------------------------------

HAS_DOCUMENTS: LiteralString = """
    select sha256, stage_key from indexed_documents
      join unnest(%(sha256s)s::text[], %(stage_keys)s::text[]) as wanted (sha256, stage_key) using (sha256, stage_key)
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

# pgvector examines this many neighbours (`hnsw.ef_search`), so it must be no less than the number of candidates.
# With more passages it must examine more to miss few of the nearest (docs/adr/0031-search-at-scale.md); a
# thousand is pgvector's limit. Of an index with lists (see `vector_index`), up to 2,000, the nearest 70 are read.
# From 300,000 passages on names are compared a little more strictly (pg_trgm's default is 0.6): its index finds two
# thousand that have the letters of a question and none of its words, for 35 ms.
# Compiling the search to machine code would take longer than the search.
SEARCH_SETTINGS: LiteralString = """
    select set_config('hnsw.ef_search', greatest(%(candidates)s, least(1000,
               100 * power(greatest(reltuples, 10000) / 10000, 0.8)))::integer::text, true),
           set_config('ivfflat.probes', '70', true),
           set_config('pg_trgm.word_similarity_threshold',
                      case when reltuples < 300000 then '0.6' else '0.65' end, true),
           set_config('jit', 'off', true)
      from pg_class where oid = 'indexed_chunks'::regclass
"""

# With a filter the nearest neighbours may all be of other documents: the index is then read on. pgvector can since 0.8.
FILTERED_SETTINGS: LiteralString = """
    select set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('ivfflat.iterative_scan', 'relaxed_order', true) from pg_extension
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

# Documents of stemmers that this server does not know; a person needs to see no more than these. Looked up by each
# unknown stemmer: there is hardly ever one, and to compare that of every document takes longer than a search.
UNKNOWN_STEMMERS: LiteralString = f"""{_STEMMERS}
select sha256, stemmer
  from (select name from stemmers where name is not null except select name from known) unknown
 cross join lateral (select sha256, stemmer from indexed_documents where stemmer = unknown.name
                      order by sha256 limit 100) of_stemmer
 order by sha256 limit 100
"""

# The documents that filters leave, None for all. Planned with the value, so the planner knows how many there are.
_OF_DOCUMENTS: LiteralString = "(%(documents)s::bigint[] is null or document_id = any(%(documents)s::bigint[]))"

# A passage that is a heading and next to nothing else, such as a title page: it names what others say. No run of five
# words begins on a line that is not a heading (`(?n)`: ^ is the beginning of any line). The length is looked at first.
_IS_TITLE: LiteralString = r"""
    case when length(text) < 400 then text ~ '^\s*#' and text !~ '(?n)^[ \t]*[^#\s]\S*(\s+\S+){4}' else false end"""

# The nearest passages by the index of vectors, which is of one of two forms (see `vector_index`): the distance has to
# be written as the index has it, or every passage is compared.
_NEAREST: LiteralString = """
    select document_id, ordinal, {distance} as distance
      from indexed_chunks
     where embedding is not null and %(vector)s::vector is not null and {of_documents}
     order by {distance}
     limit %(candidates)s
"""
_HALF: LiteralString = "embedding::halfvec(384) <=> %(vector)s::vector::halfvec(384)"
_WHOLE: LiteralString = "embedding <=> %(vector)s::vector"
NEAREST_BY_HALF: LiteralString = _NEAREST.format(distance=_HALF, of_documents=_OF_DOCUMENTS)
NEAREST_BY_WHOLE: LiteralString = _NEAREST.format(distance=_WHOLE, of_documents=_OF_DOCUMENTS)

# Passages are found by words, by vector and by name; one score joins what is known of each (see `read`).
_SEARCH: LiteralString = f"""{_STEMMERS},
configurations (name) as (
    select 'simple'::regconfig
    union
    select configuration from stemmers join known using (name)
),
index_size (passages) as materialized (  -- as last estimated; counted while it has not been
    select case when reltuples > 0 then reltuples else (select greatest(count(*), 1) from indexed_chunks) end
      from pg_class where oid = 'indexed_chunks'::regclass
),
readings (query) as (  -- the query in each spelling, and stemmed in each language of the index
    select websearch_to_tsquery('simple', spelling) from unnest(%(spellings)s::text[]) spelling
    union
    select websearch_to_tsquery(name, %(text)s) from configurations
),
common_words (lexeme, passages) as materialized (  -- those that Postgres's statistics know to be too frequent to count
    select lexeme, frequency * passages
      from index_size, pg_stats,
           unnest(most_common_elems::text::text[], most_common_elem_freqs) common (lexeme, frequency)
     where tablename = 'indexed_chunks' and attname = 'words' and %(documents)s::bigint[] is null
       and to_regclass(quote_ident(schemaname) || '.indexed_chunks') = 'indexed_chunks'::regclass
       and frequency * passages >= %(max_matches_of_word)s
),
terms (term, word, beginning) as (  -- its words, without the stop words of any of the languages
    select dense_rank() over (order by typed), word, beginning
      from unnest(%(typed_words)s::text[], %(words)s::text[], %(beginnings)s::text[]) given (typed, word, beginning)
     where not %(exact)s
       and not exists (select from configurations where numnode(plainto_tsquery(configurations.name, typed)) = 0)
),
term_queries as (  -- each word as a whole and in any inflection; and the words that begin like it
    select term, worth, string_agg(distinct format('(%%s)', reading), ' | ')::tsquery as query,
           max(passages) as known_passages
      from (select term, 1::float8 as worth, reading, passages
              from terms
             cross join configurations
             cross join plainto_tsquery(configurations.name, word) reading
              left join common_words on lexeme = btrim(reading::text, '''')
            union all
            select term, %(beginning_worth)s, (beginning || ':*')::tsquery,
                   (select max(passages) from common_words where starts_with(lexeme, beginning))
              from terms where beginning <> '') reading
     where numnode(reading) > 0
     group by term, worth
),
asked (all_words, is_large) as materialized (  -- a large index is not searched for all words: see `with_all_words`
    select string_agg(format('(%%s)', query), ' | ')::tsquery,
           %(vector)s::text is not null and not %(exact)s and exists (select from common_words)
      from readings
     where querytree(query) not in ('', 'T')  -- only exclusions: no index could answer it
),
matches as materialized (
    select term, worth, document_id, ordinal
      from term_queries,
           lateral (select document_id, ordinal from indexed_chunks
                     where words @@ query and {_OF_DOCUMENTS} limit %(max_matches_of_word)s) matching
     where known_passages is null
),
rarities as materialized (  -- 0 for a word that every passage has, towards 1 for one that a single passage of many has
    select term, worth,
           worth * ln(1 + greatest(passages - frequency + 0.5, 0.5) / (frequency + 0.5)) / ln(1 + passages) as rarity
      from (select term, worth, count(*) as frequency from matches group by term, worth) counted, index_size
     where frequency < %(max_matches_of_word)s
),
rare_words as materialized (
    select document_id, ordinal, sum(rarity) as rarity
      from (select document_id, ordinal, max(rarity) as rarity
              from matches join rarities using (term, worth)
             group by document_id, ordinal, term) of_words
     group by document_id, ordinal
),
-- By each reading alone: an "or" of them would read the lists of all words to the end. In a large index even that takes
-- a tenth of a second; but a passage with all words has all rare ones, so it is among the first of `rare_words`.
with_all_words as materialized (
    select document_id, ordinal, ts_rank(%(weights)s::real[], words, all_words) as rank
      from (select document_id, ordinal
              from asked
             cross join readings
             cross join lateral (select document_id, ordinal from indexed_chunks
                                  where words @@ query and {_OF_DOCUMENTS} limit %(max_matches)s) matching
             where not is_large and querytree(query) not in ('', 'T')
             group by document_id, ordinal
             limit %(max_matches)s) matching
      join indexed_chunks using (document_id, ordinal)
     cross join asked
     order by rank desc, document_id, ordinal
     limit %(candidates)s
),
by_vector as materialized (
    select document_id, ordinal, 1 - distance as similarity
      from (NEAREST) nearest
     where distance < 'NaN'  -- a vector of zeros has no direction
),
surroundings (similarity, passages) as (  -- how similar the nearest passages are to this question, most of them wrong
    select avg(similarity), count(*)
      from (select similarity from by_vector order by similarity desc limit %(surroundings)s) nearest
),
alike as materialized (  -- documents whose title or file name is like the query, also with a typing error
    select document_id, title || ' ' || source as name
      from indexed_documents
     where %(name)s <> '' and %(name)s <%% (title || ' ' || source) and {_OF_DOCUMENTS}
),
by_name as materialized (  -- read only as far as the limit, but planned as if to the end: so by the index of names
    select document_id, word_similarity(%(name)s, name) as likeness
      from (select document_id, name from alike limit %(max_matches_of_name)s) first_ones
     order by likeness desc, document_id
     limit %(candidates)s
),
beginnings (document_id, ordinal) as (  -- the first passage of each that is more than a title, or the first
    select document_id,
           coalesce((select min(ordinal) from indexed_chunks c
                      where c.document_id = by_name.document_id and not {_IS_TITLE}),
                    (select min(ordinal) from indexed_chunks c where c.document_id = by_name.document_id))
      from by_name
),
found as (
    select document_id, ordinal, array_agg(ranking order by place) as found_by, bool_or(has_all) as has_all_words,
           max(rank) as rank
      from (select document_id, ordinal, 1 as place, 'words' as ranking, true as has_all, rank from with_all_words
            union all
            (select document_id, ordinal, 1, 'words', false, null
               from rare_words
              where (document_id, ordinal) not in (select document_id, ordinal from with_all_words)
              order by rarity desc, document_id, ordinal limit %(candidates)s)
            union all
            select document_id, ordinal, 2, 'vector', false, null from by_vector
            union all
            select document_id, ordinal, 3, 'name', false, null from beginnings where ordinal is not null) ranked
     group by document_id, ordinal
    having not %(exact)s or bool_or(has_all)
),
measured as (
    select document_id, ordinal, found_by, rarity, likeness,
           case when not is_large then rank
                when words @@ all_words then ts_rank(%(weights)s::real[], words, all_words) end as rank,
           has_all_words or is_large and words @@ all_words as has_all_words,
           case when embedding <=> %(vector)s::vector < 'NaN' then 1 - (embedding <=> %(vector)s::vector) end
               as similarity,
           {_IS_TITLE} and exists (select from indexed_chunks other
                                    where other.document_id = found.document_id and other.ordinal <> found.ordinal)
               as is_title
      from found
     cross join asked
      join indexed_chunks using (document_id, ordinal)
      left join rare_words using (document_id, ordinal)
      left join by_name using (document_id)
),
scored as (
    select measured.*, surroundings.similarity as surroundings, surroundings.passages as compared,
           coalesce(measured.similarity, surroundings.similarity, 0) + %(word_weight)s * coalesce(rarity, 0)
             + %(name_weight)s * coalesce(likeness, 0) + %(rank_weight)s * coalesce(rank, 0) as score
      from measured, surroundings
     order by is_title, score desc, document_id, ordinal
     limit %(limit)s
)
select d.sha256, d.title, d.source, d.media_type, d.language, d.stemmer, c.chunk_id, c.ordinal,
       array(select part from unnest(c.heading_path) part where part is not null) as heading_path,
       c.text, c.start_offset as start, c.end_offset as end, scored.score, scored.found_by, scored.has_all_words,
       case when scored.similarity is not null then least(1, greatest(0, scored.similarity)) end as similarity,
       scored.surroundings, scored.compared
  from scored
  join indexed_chunks c using (document_id, ordinal)
  join indexed_documents d using (document_id)
 order by scored.is_title, scored.score desc, document_id, ordinal
"""
SEARCH_BY_HALF: LiteralString = _SEARCH.replace("NEAREST", NEAREST_BY_HALF)
SEARCH_BY_WHOLE: LiteralString = _SEARCH.replace("NEAREST", NEAREST_BY_WHOLE)
