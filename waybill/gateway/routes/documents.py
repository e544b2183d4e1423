"""``/documents``: what the search index holds, by document: passages, facts, entities and keywords, by pages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.dependencies import GatewayResources, Reader
from waybill.gateway.errors import json_response
from waybill.gateway.http.index_filters import IndexFilters
from waybill.gateway.http.params import EXAMPLE_SHA256, After, Limit, Sha256
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.services.documents import document_details, document_list, documents_page

router = APIRouter(prefix="/api/v1/documents", tags=["documents"])

_NEXT = "`after` of the next page; null on the last page"


class DocumentParameters(IndexFilters):
    """Which documents to list, and which page of them."""

    limit: Limit = 100
    after: After = None


class Document(BaseModel):
    """A document in the search index, and how much the index holds of it."""

    sha256: str = Field(examples=[EXAMPLE_SHA256], description="SHA-256 of its content, which identifies it")
    title: str = Field(examples=["Rack bar wear in section C"])
    source: str = Field(examples=["rack-bar-wear.docx"])
    media_type: str = Field(examples=["application/pdf"])
    language: str | None = Field(examples=["en"])
    pages: int | None = Field(examples=[12])
    created: str | None = Field(description="As the document says it", examples=["2026-03-01"])
    summary: str
    ingested_at: datetime = Field(description="When it was put into the index, or last changed there")
    chunks: int = Field(ge=0, examples=[31])
    facts: int = Field(ge=0, examples=[45])
    entities: int = Field(ge=0, examples=[52])
    keywords: int = Field(ge=0, examples=[20])


class DocumentList(BaseModel):
    """One page of documents, newest first."""

    documents: list[Document]
    next: str | None = Field(examples=["MjAyNi0x..."], description=_NEXT)


class Chunk(BaseModel):
    """A passage. `start` and `end` are in characters of the document's Markdown."""

    chunk_id: str = Field(examples=["9b1c7d0e52f3"])
    ordinal: int = Field(ge=0)
    heading_path: list[str] = Field(description="The headings above it.", examples=[["Findings", "Wear"]])
    text: str
    start: int
    end: int
    tokens: int


class ChunkList(BaseModel):
    """One page of a document's passages, in the order of its text."""

    sha256: str = Field(examples=[EXAMPLE_SHA256])
    chunks: list[Chunk]
    next: str | None = Field(examples=[None], description=_NEXT)


class Fact(BaseModel):
    """A statement, and the quote it rests on: characters `start` to `end` of the passage with the ordinal `chunk`."""

    fact_id: str
    type: str = Field(examples=["quantity"])
    statement: str
    quote: str
    score: float | None = Field(description="Orders the facts of one document")
    confidence: float | None = Field(description="A language model's own guess; null for facts found by rules")
    chunk: int | None
    start: int | None
    end: int | None


class FactList(BaseModel):
    """One page of a document's facts, the best first."""

    sha256: str = Field(examples=[EXAMPLE_SHA256])
    facts: list[Fact]
    next: str | None = Field(examples=[None], description=_NEXT)


class Entity(BaseModel):
    """A name and the passages (by ordinal) that it occurs in."""

    text: str = Field(examples=["1 March 2026"])
    type: str = Field(examples=["date"])
    value: str | None = Field(description="Its normal form, if it has one", examples=["2026-03-01"])
    count: int
    chunks: list[int]


class EntityList(BaseModel):
    """One page of a document's entities, the most frequent first."""

    sha256: str = Field(examples=[EXAMPLE_SHA256])
    entities: list[Entity]
    next: str | None = Field(examples=[None], description=_NEXT)


class Keyword(BaseModel):
    """A key phrase. `score` orders the phrases of one document."""

    text: str = Field(examples=["rack bar"])
    score: float | None


class KeywordList(BaseModel):
    """One page of a document's keywords, the best first."""

    sha256: str = Field(examples=[EXAMPLE_SHA256])
    keywords: list[Keyword]
    next: str | None = Field(examples=[None], description=_NEXT)


@router.get("", responses=errors(), response_model=DocumentList, summary="List the documents of the search index.")
async def list_documents(
    _: Reader, resources: GatewayResources, asked: Annotated[DocumentParameters, Query()]
) -> Response:
    """List documents that can be searched, the last ingested first. All given filters apply."""
    filters = asked.filters()
    async with resources.custody.catalog.connection() as connection:
        return json_response(await documents_page(connection, filters, limit=asked.limit, after=asked.after))


@router.get(
    "/{sha256}", responses=errors(404), response_model=Document, summary="Show one document of the search index."
)
async def document(_: Reader, resources: GatewayResources, sha256: Sha256) -> Response:
    """Return what is known of a document, and the numbers of its passages, facts, entities and keywords."""
    async with resources.custody.catalog.connection() as connection:
        return json_response(await document_details(connection, sha256))


@router.get(
    "/{sha256}/chunks", responses=errors(404), response_model=ChunkList, summary="List the passages of a document."
)
async def chunks(
    _: Reader, resources: GatewayResources, sha256: Sha256, limit: Limit = 100, after: After = None
) -> Response:
    """List the passages of a document in the order of its text."""
    return await _page(resources, "chunks", sha256, limit, after)


@router.get("/{sha256}/facts", responses=errors(404), response_model=FactList, summary="List the facts of a document.")
async def facts(
    _: Reader, resources: GatewayResources, sha256: Sha256, limit: Limit = 100, after: After = None
) -> Response:
    """List the facts of a document, the best first."""
    return await _page(resources, "facts", sha256, limit, after)


@router.get(
    "/{sha256}/entities", responses=errors(404), response_model=EntityList, summary="List the entities of a document."
)
async def entities(
    _: Reader, resources: GatewayResources, sha256: Sha256, limit: Limit = 100, after: After = None
) -> Response:
    """List the names, dates and amounts in a document, the most frequent first."""
    return await _page(resources, "entities", sha256, limit, after)


@router.get(
    "/{sha256}/keywords", responses=errors(404), response_model=KeywordList, summary="List the keywords of a document."
)
async def keywords(
    _: Reader, resources: GatewayResources, sha256: Sha256, limit: Limit = 100, after: After = None
) -> Response:
    """List the key phrases of a document, the best first."""
    return await _page(resources, "keywords", sha256, limit, after)


async def _page(resources: Resources, name: str, sha256: str, limit: int, after: str | None) -> Response:
    async with resources.custody.catalog.connection() as connection:
        return json_response(await document_list(connection, name, sha256, limit=limit, after=after))
