"""``GET /search``: passages that answer a question, from everything that was ingested.

The response is that of ``waybill search --json``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.search_index import DEFAULT_HITS, MAX_HITS
from waybill.gateway.dependencies import GatewayResources, Reader
from waybill.gateway.errors import json_response
from waybill.gateway.http.index_filters import IndexFilters
from waybill.gateway.http.params import EXAMPLE_SHA256, Text
from waybill.gateway.openapi import errors
from waybill.services.search import search_documents

router = APIRouter(prefix="/api/v1/search", tags=["search"])

# The first line of a request has 16 KiB at most, so more never arrives; the command line takes more.
_MAX_QUESTION_CHARS = 10_000


class SearchParameters(IndexFilters):
    """A question, how many passages to return, and which documents to look in."""

    q: Text = Field(
        min_length=1,
        max_length=_MAX_QUESTION_CHARS,
        description='A question or some words, in any language. `"a phrase"` must occur, `-word` must not.',
        examples=["why does the rack bar wear"],
    )
    k: int = Field(default=DEFAULT_HITS, ge=1, le=MAX_HITS, description="Passages to return at most.")
    all: bool = Field(default=False, description="Return the nearest passages also when none of them is close.")


class Hit(BaseModel):
    """A found passage. `start` and `end` are in characters of the document's Markdown, other places of `text`."""

    sha256: str = Field(description="SHA-256 of the document", examples=[EXAMPLE_SHA256])
    title: str = Field(examples=["Rack bar wear in section C"])
    source: str = Field(examples=["rack-bar-wear.docx"])
    media_type: str = Field(examples=["application/pdf"])
    language: str | None = Field(examples=["en"])
    chunk_id: str = Field(examples=["9b1c7d0e52f3"])
    ordinal: int = Field(ge=0, description="The place of the passage among those of its document.", examples=[3])
    heading_path: list[str] = Field(description="The headings above the passage.", examples=[["Findings", "Wear"]])
    text: str
    start: int
    end: int
    score: float = Field(description="Orders the hits of one search; means nothing beyond it.", examples=[0.0328])
    found_by: list[Literal["words", "vector", "name"]] = Field(examples=[["words", "vector"]])
    similarity: float | None = Field(
        ge=0, le=1, description="Cosine of the question and the passage; null without vectors.", examples=[0.71]
    )
    sentence: list[int] = Field(
        min_length=2, max_length=2, description="Start and end of the sentence that answers best.", examples=[[0, 52]]
    )
    marks: list[list[int]] = Field(
        description="Start and end of each word of the question, in order.", examples=[[[4, 8], [9, 12]]]
    )


class SearchResult(BaseModel):
    """The passages that answer a question, best first."""

    query: str
    count: int = Field(ge=0)
    nothing_close: bool = Field(
        description="Nothing close to the question is indexed; `results` is empty unless `all`."
    )
    threshold: float = Field(description="The similarity from which a passage is close by its meaning.", examples=[0.4])
    results: list[Hit]


@router.get("", responses=errors(), response_model=SearchResult, summary="Find the passages that answer a question.")
async def search(_: Reader, resources: GatewayResources, asked: Annotated[SearchParameters, Query()]) -> Response:
    """Search by words, by meaning and by name, in all documents or in those that the filters leave.

    Each passage has the sentence that answers best, the words of the question in it, and a similarity. If nothing close
    to the question is indexed, the answer says so and has no passages.
    """
    filters = asked.filters()
    async with resources.searches:
        answer = await search_documents(
            resources.custody.catalog.connection,
            asked.q,
            asked.k,
            models=resources.settings.models,
            filters=filters,
            show_all=asked.all,
        )
    return json_response({"query": asked.q, **answer.as_dict()})
