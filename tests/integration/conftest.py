"""A real Prefect server, and a Waybill home of its own for each test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from blocks.prefect_blocks import BLOCK_NAME
from blocks.settings import Settings, current_settings
from blocks.storage.block import ArtifactStore
from tasks.registry import all_stages
from tests.shared_servers import PREFECT_ALONE, alone_with_prefect, shared_prefect
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH
from tests.stages.in_workers import add_hostile_stage
from waybill.stack.stack import send_pending_records

# How long the product waits for something that takes milliseconds, as long as the machine is not busy. A test that is
# about such a limit sets its own.
_LIMITS = {
    "blocks.catalog.catalog": ("CHECK_TIMEOUT_SECONDS",),
    "blocks.catalog.output_locks": ("_ANSWER_SECONDS",),
    "blocks.open_custody": ("_PREFECT_SECONDS",),
    "blocks.runs.prefect_api": ("_ANSWER_SECONDS", "_REQUEST_SECONDS"),
    "flows.events.hooks": ("HOOK_SECONDS", "_FOLLOW_SECONDS"),
    "flows.events.reconcile_loop": ("_COMMAND_SECONDS",),
    "flows.export": ("_ARTIFACT_SECONDS",),
    "flows.processing.progress": ("ARTIFACT_SECONDS",),
    "flows.processing.report": ("_SECONDS",),
    "flows.remote": ("_ANSWER_SECONDS",),
    "waybill.gateway.http.bounded_json": ("_ARRIVAL_SECONDS",),
    "waybill.gateway.http.idempotency": ("_WAIT_SECONDS",),
    "waybill.gateway.pages.routes.home": ("PREFECT_SECONDS",),
    "waybill.gateway.pages.routes.runs": ("_SECONDS",),
    "waybill.gateway.readiness": ("CHECK_SECONDS",),
    "waybill.gateway.routes.exports": ("_NOW_SECONDS",),
    "waybill.gateway.routes.runs": ("_LONG_READ_SECONDS",),
    "waybill.gateway.routes.status": ("_LONG_READ_SECONDS",),
    "waybill.gateway.routes.webhooks": ("_TEST_SECONDS",),
    "waybill.gateway.statistics": ("_TIMEOUT_SECONDS",),
    "waybill.worker.prefect_worker": ("_FAREWELL_SECONDS",),
    "waybill.worker.worker_processes": ("_GRACE_SECONDS",),
}


@pytest.fixture(autouse=True)
def patient_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nothing is given up that a test waits for. Modules that no test has imported stay so."""
    for module in _LIMITS.keys() & sys.modules.keys():
        for name in _LIMITS[module]:
            monkeypatch.setattr(sys.modules[module], name, PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def prefect_server(request: pytest.FixtureRequest, run_folder: Path) -> Iterator[str]:
    """The API address of a Prefect server that other modules have used: a test looks at records of its own only.

    A module with the mark `PREFECT_ALONE` gets a server that only such modules use, one at a time. No storage block is
    left: files are stored where the environment says.
    """
    # The heartbeat's thread outlives a test by up to its interval; log lines are not what these tests look at.
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with ExitStack() as stack:
        if PREFECT_ALONE.mark in request.node.own_markers:
            address = stack.enter_context(alone_with_prefect(run_folder))
        else:
            address = shared_prefect(run_folder)
        reached = {PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: PREFECT_AUTH}
        stack.enter_context(temporary_settings(updates={**reached, **quiet}))
        # Prefect's background threads belong to one server: those of the next module connect to the other.
        stack.callback(send_pending_records)
        _remove_storage_block()
        yield address


@pytest.fixture
async def client(prefect_server: str) -> AsyncIterator[PrefectClient]:
    """A client of that server."""
    del prefect_server
    async with get_client() as opened:
        yield opened


def _remove_storage_block() -> None:
    with suppress(ValueError):  # Prefect raises it when there is no such block document
        ArtifactStore.delete(BLOCK_NAME)


@dataclass(frozen=True)
class Workspace:
    """What a run of this test sees."""

    home: Path
    database_url: str
    documents: Path

    def write(self, name: str, text: str | bytes) -> Path:
        """A document in the folder ``documents``."""
        path = self.documents / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


@pytest.fixture
def workspace(
    prefect_server: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A fresh home and catalogue in the environment, two workers, and the hostile stage as number 6."""
    del prefect_server
    home = tmp_path / "home"
    documents = tmp_path / "documents"
    documents.mkdir()
    for name, value in {
        "WAYBILL_HOME": str(home),
        "WAYBILL_DATABASE_URL": database_url,
        "WAYBILL_WORKERS": "2",
        "WAYBILL_STAGE_TIMEOUT_SECONDS": "120",
    }.items():
        monkeypatch.setenv(name, value)
    add_hostile_stage(monkeypatch)
    _forget_environment()
    yield Workspace(home=home, database_url=database_url, documents=documents)
    monkeypatch.undo()
    _forget_environment()


@pytest.fixture
def settings(workspace: Workspace) -> Settings:
    """The settings of the workspace."""
    del workspace
    return current_settings()


def _forget_environment() -> None:
    current_settings.cache_clear()
    all_stages.cache_clear()
