"""What each scope may do: every path with every kind of key, against the table of the documentation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from itertools import chain, combinations
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from blocks.access import create_key, revoke_key
from tests.gateway import Gateway, error_of, running_gateway
from waybill.gateway.routes import (
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
    workers,
)

_RESOURCES = (
    audit, documents, downloads, exports, files, forgetting, health, ingest, keeping, metrics, retention,
    run_start, runs, search, status, transfer_parts, transfer_uploads, transfers, watches, webhooks, workers,
)  # fmt: skip
_SCOPES = ("read", "write", "admin")
_ROW = re.compile(r"^\| `([A-Z]+)` \| `(/\S*)` \| (.+) \|$", re.MULTILINE)
_FILLED = re.compile(r"\{\w+\}")
# What another credential than a key opens; a key is answered like none.
NO_KEY = {"a link", "a worker's session", "the token of the transfer"}
_OPENAPI = ("GET", "/api/v1/openapi.json")
# No more than 60 wrong keys a minute are answered 401.
_AT_ONCE = 50


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home", requests_per_minute=1_000_000) as running:
        yield running


def documented() -> dict[tuple[str, str], str]:
    """(method, path) -> what a request needs."""
    section = Path("docs/security.md").read_text(encoding="utf-8").partition("## What each scope may do")[2]
    rows = _ROW.findall(section.partition("\n## ")[0])
    found = {(method, path): needs for method, path, needs in rows}
    assert len(found) == len(rows), "a path is listed twice"
    return found


def routes() -> set[tuple[str, str]]:
    """Every method and path of the gateway; `HEAD` counts as `GET`."""
    return {
        ("GET" if method == "HEAD" else method, re.sub(r":\w+\}", "}", route.path))
        for resource in _RESOURCES
        for route in resource.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    } | {_OPENAPI}


def allowed(needs: str, scopes: tuple[str, ...]) -> bool:
    if needs == "nothing":
        return True
    if needs == "a worker's session":
        return False
    wanted = set(re.findall(r"`(\w+)`", needs))
    if "by its direction" in needs:  # of what is not there, any of them
        return "admin" in scopes or bool(wanted & set(scopes))
    return bool(wanted) and ("admin" in scopes or wanted <= set(scopes))


def test_every_path_has_its_row() -> None:
    assert set(documented()) == routes()


async def test_each_kind_of_key_may_do_what_the_table_says(gateway: Gateway) -> None:
    combos = list(chain.from_iterable(combinations(_SCOPES, count) for count in (1, 2, 3)))
    keys: dict[str, tuple[str | None, tuple[str, ...]]] = {
        "none": (None, ()),
        "unknown": ("wb_" + "0" * 12 + "_" + "0" * 64, ()),
    }
    keys |= {"+".join(scopes): (await gateway.key(*scopes), scopes) for scopes in combos}
    async with gateway.custody.catalog.connection() as connection:
        revoked = await create_key(connection, name="revoked", scopes=_SCOPES)
        await revoke_key(connection, revoked.key.key_id)
    keys |= {"revoked": (revoked.text, ()), "expired": (await gateway.key(*_SCOPES, keep_for=timedelta(0)), ())}
    paths = list(documented())
    expected: dict[tuple[str, str, str], bool] = {}
    found: dict[tuple[str, str, str], bool] = {}

    async def ask(name: str, method: str, path: str) -> None:
        headers = {"Authorization": f"Bearer {keys[name][0]}"} if keys[name][0] else {}
        answer = await gateway.client.request(method, _FILLED.sub(str(uuid4()), path), headers=headers)
        found[name, method, path] = answer.status_code not in {401, 403}
        if answer.status_code in {401, 403}:
            without = name in {"none", "unknown", "revoked", "expired"} or documented()[method, path] in NO_KEY
            assert answer.status_code == (401 if without else 403), (name, method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            error_of(answer)

    for name, (_, scopes) in keys.items():
        for (method, path), needs in documented().items():
            expected[name, method, path] = allowed(needs, scopes)
        for some in (paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)):
            gateway.resources.gate._wrong_keys._buckets.clear()
            await asyncio.gather(*(ask(name, method, path) for method, path in some))
    assert found == expected


async def test_write_alone_reads_nothing_of_what_it_changes(gateway: Gateway) -> None:
    artifact = await gateway.put(b"content", name="salaries.pdf")
    writer, both = await gateway.headers("write"), await gateway.headers("write", "read")
    base = f"/api/v1/files/{artifact.file_id}"
    shared = await gateway.client.post(f"{base}/share", headers=writer)
    assert (shared.status_code, error_of(shared)) == (403, "ScopeMissing")
    assert "read" in shared.json()["error"]["message"]
    assert shared.headers["www-authenticate"].endswith('scope="write read"')
    assert (await gateway.client.post(f"{base}/share", headers=await gateway.headers("read"))).status_code == 403
    assert (await gateway.client.post(f"{base}/share", headers=both)).status_code == 200
    short = {"file_id": str(artifact.file_id), "pinned": True}
    assert (await gateway.client.post(f"{base}/pin", headers=writer)).json() == short
    assert (await gateway.client.post(f"{base}/pin", headers=both)).json()["filename"] == "salaries.pdf"
    assert (await gateway.client.post(f"{base}/unpin", headers=writer)).json() == {**short, "pinned": False}
    gone = await gateway.client.delete(base, headers=writer)
    assert gone.json() == {**short, "pinned": False, "state": "removed"}
    other = await gateway.put(b"content", name="other.pdf")
    removed = await gateway.client.delete(f"/api/v1/files/{other.file_id}", headers=both)
    assert removed.json()["filename"] == "other.pdf"
