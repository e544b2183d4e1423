"""``GET /health``: the process answers."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from waybill.gateway.answers import SAFE_HEADERS

router = APIRouter(tags=["operation"])


@router.api_route("/health", methods=["GET", "HEAD"])
async def health() -> Response:
    """Whether the gateway answers; it asks nobody else."""
    return JSONResponse({"status": "ok"}, headers=SAFE_HEADERS)
