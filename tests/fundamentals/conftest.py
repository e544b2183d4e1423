"""What the fundamentals stand on: fixtures of the integration tests, by import."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.gateway import Gateway, running_gateway
from tests.integration.conftest import prefect_server, settings, workspace

__all__ = ["gateway", "prefect_server", "settings", "workspace"]


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    """A gateway that listens on loopback, with an empty catalogue, and may send webhooks to loopback."""
    async with running_gateway(database_url, tmp_path / "home", allow_private_webhooks="loopback") as running:
        yield running
