"""``/exports``: export jobs, and a form that starts one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from blocks.errors import InvalidOptions
from blocks.exports import TABLES
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.visitors import ReadingForm, ReadingVisitor
from waybill.gateway.routes.exports import NewExport
from waybill.gateway.routes.exports import start as start_export
from waybill.services.exports import read_exports

router = APIRouter(include_in_schema=False)

_A_PAGE = 50
FORMATS = ("xlsx", "csv", "json", "jsonl", "parquet")


@router.get("/exports")
async def exports(request: Request, visitor: ReadingVisitor, resources: GatewayResources, after: str = "") -> Response:
    """List the exports, newest first."""
    found = await read_exports(resources.custody.catalog, resources.settings, limit=_A_PAGE, after=after[:200] or None)
    return page(
        request, "exports.html", visitor=visitor, jobs=found.jobs, next=found.next, tables=TABLES, formats=FORMATS
    )


@router.post("/exports")
async def start(request: Request, form: ReadingForm, resources: GatewayResources) -> Response:
    """Export a table of the catalogue. A small one is done when this returns, any other becomes a run."""
    table = form.fields.get("table", "")
    if table not in TABLES:
        raise InvalidOptions(f"there is no table {table[:40]!r}; there are {', '.join(TABLES)}")
    try:
        wanted = NewExport.model_validate(
            {
                "export_type": table,
                "format": form.fields.get("format", ""),
                # A person opens it in a spreadsheet.
                "safe_formulas": form.fields.get("format") == "csv",
            }
        )
    except ValidationError:
        raise InvalidOptions(f"there is no such format; there are {', '.join(FORMATS)}") from None
    await start_export(request, form.visitor.caller, resources, wanted)
    return see_other("/exports")
