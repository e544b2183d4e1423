"""The search index: the content of each document (chunks, vectors, facts, entities, keywords) in Postgres, and search.

`replace_documents` is one transaction that changes only rows that differ. `search` ranks passages in one statement,
says whether any of them is close to the question, and marks words and the best sentence. The caller provides the
embeddings. Start reading at `document` (the content), then `write`, `read` and `queries` (ranking), `closeness`,
`answer` with `marks` and `sentences`, and `documents` (lists with `filters`). `words` splits text for full-text search,
in the index and in queries alike.
"""

from blocks.search_index.answer import SearchAnswer, SearchHit
from blocks.search_index.closeness import CLOSE_MARGIN
from blocks.search_index.document import (
    EMBEDDING_DIMENSIONS,
    Chunk,
    DocumentHead,
    Entity,
    Fact,
    IndexedDocument,
    Keyword,
)
from blocks.search_index.documents import (
    DocumentEntry,
    DocumentPage,
    StoredChunk,
    get_document,
    list_chunks,
    list_documents,
    list_entities,
    list_facts,
    list_keywords,
)
from blocks.search_index.filters import SearchFilters, read_filters
from blocks.search_index.read import (
    DEFAULT_HITS,
    MAX_HITS,
    MAX_QUERY_CHARACTERS,
    check_query,
    has_documents,
    has_vectors,
    search,
    statistics,
)
from blocks.search_index.words import meaning_of
from blocks.search_index.write import Replacement, remove_document, replace_document, replace_documents

__all__ = [
    "CLOSE_MARGIN",
    "DEFAULT_HITS",
    "EMBEDDING_DIMENSIONS",
    "MAX_HITS",
    "MAX_QUERY_CHARACTERS",
    "Chunk",
    "DocumentEntry",
    "DocumentHead",
    "DocumentPage",
    "Entity",
    "Fact",
    "IndexedDocument",
    "Keyword",
    "Replacement",
    "SearchAnswer",
    "SearchFilters",
    "SearchHit",
    "StoredChunk",
    "check_query",
    "get_document",
    "has_documents",
    "has_vectors",
    "list_chunks",
    "list_documents",
    "list_entities",
    "list_facts",
    "list_keywords",
    "meaning_of",
    "read_filters",
    "remove_document",
    "replace_document",
    "replace_documents",
    "search",
    "statistics",
]
