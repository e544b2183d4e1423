"""``/search``: a question, and the passages that answer it with the sentence and the words marked."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.errors import EmbeddingModelUnavailable, InvalidOptions
from blocks.search_index import SearchAnswer, SearchHit
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import HttpError
from waybill.gateway.pages.passages import Piece, pieces_of
from waybill.gateway.pages.rendering import page
from waybill.gateway.pages.routes.documents import filters_of
from waybill.gateway.pages.visitors import ReadingVisitor
from waybill.services.search import search_documents

router = APIRouter(include_in_schema=False)

_MOST_HITS = 10


@router.get("/search")
async def search(
    request: Request,
    visitor: ReadingVisitor,
    resources: GatewayResources,
    q: str = "",
    source: str = "",
    type: str = "",  # noqa: A002 - its name in the address
    language: str = "",
    all: str = "",  # noqa: A002 - its name in the address
) -> Response:
    """Answer a question from the index."""
    given = {"source": source, "media_type": type, "language": language}
    answer: SearchAnswer | None = None
    problem = ""
    if q.strip():
        try:
            async with resources.searches:
                answer = await search_documents(
                    resources.custody.catalog.connection,
                    q.replace("\x00", " "),
                    _MOST_HITS,
                    models=resources.settings.models,
                    filters=filters_of(**given),
                    show_all=bool(all),
                )
        except InvalidOptions as error:
            problem = error.message
        except EmbeddingModelUnavailable:
            message = "the model that reads questions cannot be loaded; the gateway's log says why"
            raise HttpError(503, "EmbeddingModelUnavailable", message) from None
    return page(
        request,
        "search.html",
        visitor=visitor,
        status=422 if problem else 200,
        q=q,
        given=given,
        all=bool(all),
        problem=problem,
        answer=answer,
        hits=await asyncio.to_thread(_shown, answer) if answer else [],
    )


def _shown(answer: SearchAnswer) -> list[tuple[SearchHit, list[Piece]]]:
    return [(hit, pieces_of(hit.text, hit.sentence, hit.marks)) for hit in answer.hits]
