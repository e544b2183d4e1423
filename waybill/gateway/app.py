"""The gateway as an ASGI application, put together from what it is given."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from waybill import __version__
from waybill.gateway.errors import answer_errors
from waybill.gateway.readiness import Readiness
from waybill.gateway.resources import Resources
from waybill.gateway.routes import (
    audit,
    downloads,
    event_bodies,
    files,
    health,
    ingest,
    metrics,
    status,
    uploads,
    webhooks,
)
from waybill.gateway.server.request_log import RequestLog

API = "/api/v1"

# What scripts of other sites may read of an answer's head, beside what browsers let them read anyway.
_SHOWN_TO_PAGES = (
    "Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Location", "Retry-After",
    "X-Request-ID",
)  # fmt: skip


def create_app(resources: Resources) -> FastAPI:
    """The HTTP API on *resources*. Opens nothing and closes nothing; that is its caller's."""
    app = FastAPI(
        title="Waybill",
        version=__version__,
        summary="Documents through processing stages, every output in custody.",
        openapi_url=f"{API}/openapi.json",
        # Their pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        # No redirects that are built from what the client says this host is called.
        redirect_slashes=False,
        # Traces would carry the tokens of links off this machine: they record the query.
        telemetry={"tracing": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = resources
    app.state.readiness = Readiness(resources.custody, resources.prefect)
    app.state.metrics = watching = metrics.Metrics(resources, app.state.readiness)
    answer_errors(app)
    app.include_router(ingest.router)
    app.include_router(uploads.router)
    app.include_router(downloads.router)
    app.include_router(files.router)
    app.include_router(status.router)
    app.include_router(event_bodies.router)
    app.include_router(webhooks.router)
    app.include_router(audit.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    if resources.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(resources.settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Range", "Range", "X-Request-ID"],
            expose_headers=_SHOWN_TO_PAGES,
        )
    # The last one is the outermost.
    app.add_middleware(RequestLog, watch=watching.http)
    return app
