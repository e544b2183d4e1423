"""The documents of the search index as commands and the API show them: pages of documents, passages and facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from blocks.postgres import Connection
from blocks.search_index import (
    DocumentPage,
    SearchFilters,
    get_document,
    list_chunks,
    list_documents,
    list_entities,
    list_facts,
    list_keywords,
)

# Each list of a document, by the name that its entries have in an answer.
_LISTS = {"chunks": list_chunks, "facts": list_facts, "entities": list_entities, "keywords": list_keywords}


async def documents_page(
    connection: Connection, filters: SearchFilters | None = None, *, limit: int, after: str | None = None
) -> dict[str, Any]:
    """Return one page of documents, newest first: ``{"documents", "next"}``. Raises `InvalidOptions`."""
    page = await list_documents(connection, filters, limit=limit, after=after)
    return {"documents": [entry.as_dict() for entry in page.items], "next": page.next}


async def document_details(connection: Connection, sha256: str) -> dict[str, Any]:
    """Return one document. Raises `DocumentNotFound`."""
    return (await get_document(connection, sha256)).as_dict()


async def document_list(
    connection: Connection, name: str, sha256: str, *, limit: int, after: str | None = None
) -> dict[str, Any]:
    """Return one page of a document's list *name* (chunks, facts, entities, keywords): ``{"sha256", name, "next"}``.

    Raises `DocumentNotFound` and `InvalidOptions`.
    """
    page: DocumentPage[Any] = await _LISTS[name](connection, sha256, limit=limit, after=after)
    return {"sha256": sha256, name: [asdict(item) for item in page.items], "next": page.next}
