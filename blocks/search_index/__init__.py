"""The search index: the content of each document (chunks, vectors, facts, entities, keywords) in Postgres, and search.

`replace_document` is one transaction that changes only rows that differ, and `search` is one statement. The caller
provides the embeddings. Start reading at `document` (the content), then `write`, `read` and `queries` (all SQL but that
of the lists). `words` splits text for full-text search, in the index and in queries alike.
"""

from blocks.search_index.document import (
    EMBEDDING_DIMENSIONS,
    Chunk,
    DocumentHead,
    Entity,
    Fact,
    IndexedDocument,
    Keyword,
)
from blocks.search_index.read import DEFAULT_HITS, SearchHit, check_query, has_document, has_vectors, search, statistics
from blocks.search_index.words import meaning_of
from blocks.search_index.write import Replacement, remove_document, replace_document

__all__ = [
    "DEFAULT_HITS",
    "EMBEDDING_DIMENSIONS",
    "Chunk",
    "DocumentHead",
    "Entity",
    "Fact",
    "IndexedDocument",
    "Keyword",
    "Replacement",
    "SearchHit",
    "check_query",
    "has_document",
    "has_vectors",
    "meaning_of",
    "remove_document",
    "replace_document",
    "search",
    "statistics",
]
