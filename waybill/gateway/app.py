"""The gateway as an ASGI application, put together from what it is given."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from blocks.custody import Custody
from blocks.links import Links
from waybill.gateway.answers import SAFE_HEADERS, answer_errors
from waybill.gateway.downloads import Downloads, download_routes
from waybill.gateway.event_bodies import event_routes


def create_app(custody: Custody, links: Links, *, presigned_redirects: bool = False) -> FastAPI:
    """Files of *custody* and long events of its catalogue, by *links*.

    Opens nothing and closes nothing; that is its caller's.
    """
    app = FastAPI(
        title="Waybill",
        # No pages about itself, and no redirects that are built from what the client says this host is called.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Traces would carry the tokens of links off this machine: they record the query.
        telemetry={"tracing": False, "logs": False, "auto_configure": False},
    )
    answer_errors(app)
    app.include_router(download_routes(Downloads(custody, links, redirects=presigned_redirects)))
    app.include_router(event_routes(custody, links))

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return JSONResponse({"status": "ok"}, headers=SAFE_HEADERS)

    del health  # registered by its decorator
    return app
