"""See the package."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from blocks.access import check_action, create_key
from blocks.access.api_key import SCOPES
from blocks.catalog import Artifact, Catalog, Draft
from blocks.custody import Custody
from blocks.errors import HostUnresolved
from blocks.keys import StorageKeys
from blocks.links import DOWNLOAD_PATH, Links
from blocks.links.signing_keys import LinkKeys
from blocks.links.tokens import issue
from blocks.settings import Settings
from blocks.storage import Backend, open_backend
from blocks.webhooks.send.address import Resolver
from blocks.webhooks.send.networks import IPAddress
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED
from waybill.gateway.app import create_app
from waybill.gateway.resources import Resources, open_resources
from waybill.gateway.server.client_limits import TransportLimits
from waybill.gateway.server.server import GatewayServer
from waybill.process.gateway_socket import address_of, listen

HOUR = timedelta(hours=1)
# Longer than what a gateway reads and sends at a time, and no whole number of chunks.
CONTENT = os.urandom(3 * 1024 * 1024 + 17)
# These gateways speak no TLS, and to load the authorities takes longer than to start one.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Gateway:
    """A gateway that answers at *url*."""

    url: str
    server: GatewayServer
    resources: Resources
    client: httpx.AsyncClient
    database_url: str

    @property
    def custody(self) -> Custody:
        return self.resources.custody

    @property
    def links(self) -> Links:
        return self.resources.links

    @property
    def keys(self) -> LinkKeys:
        return LinkKeys(self.resources.settings.resolved_link_keys_file)

    async def put(self, content: bytes = CONTENT, *, name: str = "report.pdf", **given: Any) -> Artifact:
        """A file in custody."""
        options = {"media_type": "application/pdf", "keep_for": timedelta(days=1), "kind": "upload", **given}
        draft = Draft(**{"filename": name, "source_file": name, "document_sha256": "d" * 64, **options})
        return await self.custody.take(draft, content)

    def link(self, artifact: Artifact | UUID, lifetime: timedelta = HOUR, *, scope: str = "download") -> str:
        """A link, also to what is not there and for longer than it is."""
        file_id = artifact if isinstance(artifact, UUID) else artifact.file_id
        token, _ = issue(
            key=self.keys.signing_key(), scope=scope, subject=str(file_id), expires_at=datetime.now(UTC) + lifetime
        )
        return f"{self.url}{DOWNLOAD_PATH}/{file_id}?token={token}"

    async def key(self, *scopes: str, **more: Any) -> str:
        """A new API key with *scopes*, by default all."""
        async with self.custody.catalog.connection() as connection:
            made = await create_key(connection, name="a test", scopes=scopes or SCOPES, **more)
        return made.text

    async def headers(self, *scopes: str) -> dict[str, str]:
        """What a request with such a key carries."""
        return {"Authorization": f"Bearer {await self.key(*scopes)}"}

    async def get(self, url: str, **headers: str) -> httpx.Response:
        return await self.client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """Rows of the audit log, oldest first. Raises `InvalidOptions` for an action that people could not ask for."""
        check_action(action)
        async with self.custody.catalog.connection() as connection:
            cursor = await connection.execute("select * from audit_log where action = %s order by entry_id", [action])
            return await cursor.fetchall()

    def stored(self, artifact: Artifact) -> Path:
        return Path(self.custody.locate(artifact))


async def nobody_known(host: str) -> list[IPAddress]:
    """A resolver that knows ``*.example.org`` alone and asks nobody."""
    if host.endswith(".example.org"):
        return [ip_address("203.0.114.7")]
    raise HostUnresolved(f"{host} is not known")


@asynccontextmanager
async def running_gateway(
    database_url: str,
    home: Path,
    *,
    backend: Backend | None = None,
    keys: StorageKeys = ENCRYPTED,
    prefect_api: str | None = None,
    limits: TransportLimits | None = None,
    resolve: Resolver = nobody_known,
    **settings: Any,
) -> AsyncGenerator[Gateway]:
    """A gateway on the database, on files below *home* unless *backend* names other storage, for this block."""
    listener = listen("127.0.0.1", 0)
    ending = asyncio.Event()
    url = address_of(listener)
    given = Settings(**{"home": home, "public_url": url, "database_url": database_url, **settings})
    home.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test's own
    async with (
        Catalog.open(database_url) as catalog,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, verify=_NO_AUTHORITIES) as client,
    ):
        custody = Custody(catalog=catalog, backend=backend or open_backend(str(home / "store")), keys=keys)
        async with open_resources(given, custody, prefect_api=prefect_api, resolve=resolve) as resources:
            server = GatewayServer(create_app(resources), ending.is_set, limits=limits)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield Gateway(url, server, resources, client, database_url)
            finally:
                ending.set()
                await client.aclose()
                await serving


def error_of(response: httpx.Response) -> str:
    """The code of an error, after a look at its shape and at what it must not tell."""
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message", "detail"}
    assert isinstance(body["error"]["message"], str) and isinstance(body["error"]["detail"], dict)
    assert response.headers["cache-control"] == "private, no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers
    for secret in ("Traceback", ".py", "/store/", "eyJ"):
        assert secret not in response.text
    return str(body["error"]["code"])
