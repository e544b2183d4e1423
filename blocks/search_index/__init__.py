"""The search index: what is known of each document's content, in Postgres, and how it is found again."""

from blocks.search_index.document import Chunk, DocumentHead, Entity, Fact, IndexedDocument, Keyword
from blocks.search_index.read import (
    DEFAULT_HITS,
    MAX_HITS,
    SearchHit,
    Statistics,
    check_query,
    has_document,
    has_vectors,
    search,
    statistics,
)
from blocks.search_index.row import Changes
from blocks.search_index.words import meaning_of
from blocks.search_index.write import Replacement, remove_document, replace_document

__all__ = [
    "DEFAULT_HITS",
    "MAX_HITS",
    "Changes",
    "Chunk",
    "DocumentHead",
    "Entity",
    "Fact",
    "IndexedDocument",
    "Keyword",
    "Replacement",
    "SearchHit",
    "Statistics",
    "check_query",
    "has_document",
    "has_vectors",
    "meaning_of",
    "remove_document",
    "replace_document",
    "search",
    "statistics",
]
