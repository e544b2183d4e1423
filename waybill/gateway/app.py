"""The gateway as an ASGI application, put together from resources that its caller has opened."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from blocks.links import LinkKeys
from blocks.runs.deployment import find_deployment
from blocks.runs.remote_stages import REMOTE_DEPLOYMENT
from waybill import __version__
from waybill.gateway.errors import install_error_handlers
from waybill.gateway.http import tus
from waybill.gateway.http.head_requests import HeadAsGet
from waybill.gateway.openapi import name_operations
from waybill.gateway.pages.error_pages import install_error_pages, unexpected_answer
from waybill.gateway.pages.routes import page_routers
from waybill.gateway.pages.sessions import Sessions
from waybill.gateway.readiness import Readiness
from waybill.gateway.request_log import RequestLog
from waybill.gateway.resources import Resources
from waybill.gateway.routes import (
    assignments,
    audit,
    documents,
    downloads,
    exports,
    files,
    forgetting,
    health,
    ingest,
    keeping,
    metrics,
    retention,
    run_start,
    runs,
    search,
    status,
    transfer_parts,
    transfer_uploads,
    transfers,
    watches,
    webhooks,
    worker_prefect,
    workers,
)
from waybill.gateway.worker_prefect import PrefectDoor

API = "/api/v1"

# Request headers that scripts of other sites may send.
_ALLOWED_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Range", "Range", "X-Request-ID")

# Response headers that scripts of other sites may read, in addition to those that browsers always let them read.
_EXPOSED_HEADERS = (
    "Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Location", "Retry-After",
    "X-Request-ID",
)  # fmt: skip


def create_app(resources: Resources) -> FastAPI:
    """Return the HTTP API on *resources*, which the caller opens and closes."""
    app = FastAPI(
        title="Waybill",
        version=__version__,
        summary="Process documents in stages, and keep every output in custody.",
        openapi_url=f"{API}/openapi.json",
        # FastAPI's documentation pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        # A redirect would be built from the Host header, which the client chooses.
        redirect_slashes=False,
        # Traces record query strings, and with them the tokens of links.
        telemetry={"tracing": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = resources
    app.state.readiness = Readiness(resources.custody, resources.prefect, resources.settings.home)
    app.state.metrics = collected = metrics.Metrics(resources, app.state.readiness)
    link_keys = LinkKeys(resources.settings.resolved_link_keys_file)
    app.state.sessions = Sessions(link_keys, resources.links.base_url)
    install_error_handlers(app)
    install_error_pages(app)
    routes = (
        ingest, downloads, retention, files, forgetting, keeping, exports, transfers, transfer_uploads, transfer_parts,
        status, runs, run_start, search, documents, watches, webhooks, workers, assignments, audit, health, metrics,
    )  # fmt: skip
    for resource in routes:
        name_operations(resource.router.routes)
        app.include_router(resource.router)
    for router in page_routers():
        app.include_router(router)
    app.include_router(worker_prefect.router_for(_prefect_door(resources), resources.worker_gate.admit))
    if resources.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(resources.settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[*_ALLOWED_HEADERS, *tus.REQUEST_HEADERS],
            expose_headers=[*_EXPOSED_HEADERS, *tus.RESPONSE_HEADERS],
        )
    app.add_middleware(HeadAsGet)
    # Added last, so that it is outermost and logs what the others answer.
    app.add_middleware(RequestLog, unexpected=unexpected_answer, observe=collected.http)
    return app


def _prefect_door(resources: Resources) -> PrefectDoor:
    """Return the door of remote workers to Prefect; it passes on what concerns the runs of this home's deployment."""
    catalog, home = resources.custody.catalog, resources.settings.home
    return PrefectDoor(
        resources.prefect, lambda: find_deployment(resources.prefect, catalog, home, wanted=REMOTE_DEPLOYMENT)
    )
