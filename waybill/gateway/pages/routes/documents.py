"""``/documents``: the documents of the search index, and one document with its preview, facts and files."""

from __future__ import annotations

import asyncio
import re

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from blocks.catalog import Artifact
from blocks.errors import DocumentNotFound, WaybillError
from blocks.search_index import SearchFilters
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import waybill_error_response
from waybill.gateway.pages.markdown_preview import MOST_BYTES, preview
from waybill.gateway.pages.rendering import page
from waybill.gateway.pages.visitors import ReadingVisitor
from waybill.gateway.resources import Resources
from waybill.services.document_files import read_document
from waybill.services.documents import documents_page

router = APIRouter(include_in_schema=False)

_A_PAGE = 50
_BEST_FACTS = 10
_BEST_ENTITIES = 24
# Longer than the path of any source.
_MOST_FILTER_CHARS = 4096
_SHA256 = re.compile(r"[0-9a-f]{64}")


@router.get("/documents")
async def documents(
    request: Request,
    visitor: ReadingVisitor,
    resources: GatewayResources,
    source: str = "",
    type: str = "",  # noqa: A002 - its name in the address
    language: str = "",
    after: str = "",
) -> Response:
    """List the documents of the index, newest first."""
    given = {"source": source, "media_type": type, "language": language}
    filters = filters_of(**given)
    async with resources.custody.catalog.connection() as connection:
        found = await documents_page(connection, filters, limit=_A_PAGE, after=after[:200] or None)
    return page(
        request, "documents.html", visitor=visitor, documents=found["documents"], next=found["next"], given=given
    )


def filters_of(*, source: str = "", media_type: str = "", language: str = "") -> SearchFilters:
    """Return the filters of a form; fields that are empty leave everything."""
    return SearchFilters(
        source=_storable(source) or None, media_type=_storable(media_type) or None, language=_storable(language) or None
    )


@router.get("/documents/{sha256}")
async def document(request: Request, visitor: ReadingVisitor, resources: GatewayResources, sha256: str) -> Response:
    """Show one document."""
    if _SHA256.fullmatch(sha256) is None:
        raise DocumentNotFound("documents are known by the 64 hexadecimal digits of their SHA-256")
    found = await read_document(resources.custody.catalog, sha256, facts=_BEST_FACTS, entities=_BEST_ENTITIES)
    text, problem = await _preview(resources, found.markdown)
    return page(
        request, "document.html", visitor=visitor, document=found, preview=text, preview_problem=problem,
        metadata=_metadata(found.current),
    )  # fmt: skip


async def _preview(resources: Resources, markdown: Artifact | None) -> tuple[Markup | None, str]:
    """Return the beginning of the Markdown as HTML, or why there is none."""
    if markdown is None:
        return None, "There is no Markdown of this document now: it was not made, or it has expired."
    try:
        stop = min(markdown.size, MOST_BYTES)
        content = await resources.custody.read_part(markdown, 0, stop) if stop else b""
    except WaybillError as error:
        waybill_error_response(error)  # logs what is the gateway's own trouble
        return None, "The Markdown of this document cannot be read now; its file says more."
    return await asyncio.to_thread(preview, content.decode("utf-8", "replace")), ""


def _metadata(files: list[Artifact]) -> dict[str, str]:
    """Return what the outputs of the stages say of the document: numbers and short texts."""
    found: dict[str, str] = {}
    for one in files:
        if one.kind != "stage_output":
            continue
        for name, value in one.metadata.items():
            if isinstance(value, (int, float, str)) and not isinstance(value, bool) and len(str(value)) <= 200:
                found.setdefault(name, str(value))
    return found


def _storable(text: str) -> str:
    return text.strip().replace("\x00", "")[:_MOST_FILTER_CHARS]
