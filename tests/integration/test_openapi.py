"""The whole HTTP API against its own description: what Schemathesis makes of every path, with a key that may do all.

Nothing may fail with a 5xx, and no answer may have a status, a type or a form that is not described.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.age import X25519Identity
from blocks.search_index import Fact
from blocks.webhooks.outbox import Event, add_events
from flows.process import process_documents
from flows.watch import watch_source
from tests.gateway import Gateway, running_gateway
from tests.integration.indexed import document, put

# What needs no key: a one-time code, or an answer that only its reader can open.
NO_KEY = {"/api/v1/workers/enroll", "/api/v1/workers/{name}/session"}

# What is left out: an answer 422 to a request that fits the schema is no fault, since a schema cannot say which cursor,
# URL or option is one; and that a key is asked for is shown by tests of their own.
_LEFT_OUT = "positive_data_acceptance,ignored_auth"
_EXAMPLES = int(os.environ.get("WAYBILL_TEST_EXAMPLES", "8"))


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, prefect_server: str) -> AsyncGenerator[Gateway]:
    for served in (process_documents, watch_source):
        await (await served.ato_deployment(name="waybill")).aapply()
    async with running_gateway(
        database_url, tmp_path / "home", prefect_api=prefect_server, requests_per_minute=1_000_000
    ) as running:
        yield running


async def prepared(gateway: Gateway, headers: dict[str, str]) -> dict[str, str]:
    """Something of each kind, so that requests do not only find nothing; parameters that name it."""
    client = gateway.client
    note = {"file": ("note.md", b"# A note\n")}
    ingested = (await client.post("/api/v1/ingest/file", files=note, headers=headers)).json()
    given = {"url": "https://hooks.example.org/"}
    endpoint = (await client.post("/api/v1/webhooks/endpoints", json=given, headers=headers)).json()
    async with gateway.custody.catalog.transaction() as connection:
        event = Event(
            event_id="evt_test",
            event_type="task_started",
            task_id=None,
            source_file=None,
            occurred_at=datetime.now(UTC),
            data={},
        )
        await add_events(connection, [event], lambda _: None)
    invitation = (await client.post("/api/v1/workers/codes", json={}, headers=headers)).json()
    enrolment = {"code": invitation["code"], "name": "gpu-1", "recipient": X25519Identity.generate().recipient.text}
    await client.post("/api/v1/workers/enroll", json=enrolment)
    deliveries = (await client.get("/api/v1/webhooks/deliveries", headers=headers)).json()["deliveries"]
    transfer = {"direction": "download", "file_id": ingested["file_id"], "recipient": enrolment["recipient"]}
    transfer_id = (await client.post("/api/v1/transfers", json=transfer, headers=headers)).json()["transfer_id"]
    indexed = document("A note on lamps.", "More of it.", title="Note")
    put(gateway.database_url, replace(indexed, facts=[Fact(fact_id="f1", type="date", statement="s", quote="q")]))
    return {
        "sha256": indexed.head.sha256,
        "transfer_id": transfer_id,
        "task_id": ingested["task_id"],
        "file_id": ingested["file_id"],
        "endpoint_id": endpoint["endpoint_id"],
        "delivery_id": deliveries[0]["delivery_id"],
        "name": "gpu-1",
    }


def configure(folder: Path, parameters: Mapping[str, object]) -> None:
    """Name what is there. A parameter that is repeated a thousand times may also make the URL too long (414)."""
    refused = ["400", "401", "403", "404", "405", "406", "409", "414", "415", "422", "428", "429", "5xx"]
    lines = [
        # How long it takes to make examples says more about what else the machine is doing.
        'suppress-health-check = ["too_slow"]',
        "[checks.negative_data_rejection]",
        f"expected-statuses = {json.dumps(refused)}",
        "[parameters]",
        *(f'"path.{name}" = "{value}"' for name, value in parameters.items()),
    ]
    (folder / "schemathesis.toml").write_text("\n".join(lines) + "\n")


async def schemathesis(gateway: Gateway, folder: Path, headers: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of one run."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.url}/api/v1/openapi.json",
        "--header", f"Authorization: {headers['Authorization']}",
        "--checks", "all", "--exclude-checks", _LEFT_OUT,
        "--max-examples", str(_EXAMPLES), "--seed", "2026", "--request-timeout", "120", "--no-color",
        "--continue-on-failure", *arguments,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


@pytest.mark.parametrize("known", [True, False], ids=["ids of what is there", "any ids"])
async def test_every_answer_is_as_described(gateway: Gateway, tmp_path: Path, known: bool) -> None:
    headers = await gateway.headers()
    parameters = await prepared(gateway, headers) if known else {}
    configure(tmp_path, parameters)
    # What is there stays there, and nobody answers test events here; both are tried out on what is not there, and by
    # tests of their own.
    kept = ("--exclude-method", "DELETE", "--exclude-path", "/api/v1/webhooks/test") if known else ()
    code, output = await schemathesis(gateway, tmp_path, headers, "--phases", "examples,coverage,fuzzing", *kept)
    assert code == 0, output[-12_000:]
    assert "Fuzzing" in output and "Tested: " in output


async def test_every_answer_to_an_upload_is_as_described(gateway: Gateway, tmp_path: Path) -> None:
    """With the token of an upload, which wrong bytes end at some time: before and after that."""
    wanted = {"direction": "upload", "filename": "report.pdf", "sealed_for": "unknown"}
    headers = await gateway.headers("write")
    made = (await gateway.client.post("/api/v1/transfers", json=wanted, headers=headers)).json()
    configure(tmp_path, {"transfer_id": made["transfer_id"]})
    only = ("--include-path-regex", "/upload", "--exclude-path", "/api/v1/files/upload", "--exclude-method", "DELETE")
    token = {"Authorization": f"Bearer {made['token']}"}
    code, output = await schemathesis(gateway, tmp_path, token, "--phases", "examples,coverage,fuzzing", *only)
    assert code == 0, output[-12_000:]
    assert "Fuzzing" in output and "Tested: " in output


async def test_the_description_is_complete(gateway: Gateway) -> None:
    described: dict[str, Any] = (await gateway.client.get("/api/v1/openapi.json")).json()
    assert '"ArtifactNotFound"' in json.dumps(described)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary") and operation.get("tags"), where
            assert any(status.startswith("2") for status in operation["responses"]), where
            if path.startswith("/api/v1/") and "openapi" not in path and "token" not in path:
                is_open = path in NO_KEY or path.startswith("/api/v1/webhooks/events/")
                assert is_open or operation.get("security"), where
                # A database that was never migrated, a storage that may not be written to.
                assert {"500", "503"} <= operation["responses"].keys(), where


async def test_who_has_no_key_learns_nothing(gateway: Gateway) -> None:
    described: dict[str, Any] = (await gateway.client.get("/api/v1/openapi.json")).json()
    open_to_all = {"/health", "/ready"}
    for path, methods in described["paths"].items():
        for method in methods:
            filled = path.replace("{file_id}", "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a")
            for name in ("task_id", "endpoint_id", "delivery_id", "event_id", "plan_id"):
                filled = filled.replace(f"{{{name}}}", "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a")
            filled = filled.replace("{name}", "gpu-1").replace("{transfer_id}", f"trf_{'0' * 16}")
            answer = await gateway.client.request(method.upper(), filled)
            # Without a code, and of no worker that is there.
            wanted = {"enroll": 422, "session": 404}[path.rpartition("/")[2]] if path in NO_KEY else 401
            wanted = 200 if path in open_to_all else wanted
            assert answer.status_code == wanted, f"{method} {path}: {answer.status_code}"


async def test_methods_that_a_path_does_not_take_are_told(gateway: Gateway) -> None:
    answer = await gateway.client.options("/api/v1/webhooks/endpoints")
    assert answer.status_code == 405
    assert {word.strip() for word in answer.headers["allow"].split(",")} == {"GET", "HEAD", "POST"}
    assert httpx.codes(answer.status_code).name == "METHOD_NOT_ALLOWED"
