"""The search index: what is known of each document's content, in Postgres, and how it is found again."""

from blocks.search_index.document import Chunk, DocumentHead, Entity, Fact, IndexedDocument, Keyword
from blocks.search_index.read import MAX_HITS, SearchHit, Statistics, has_document, search, statistics
from blocks.search_index.row import Changes
from blocks.search_index.write import Replacement, remove_document, replace_document

__all__ = [
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
    "has_document",
    "remove_document",
    "replace_document",
    "search",
    "statistics",
]
