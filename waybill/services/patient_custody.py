"""Custody for work that reads a whole catalogue, where the caller's connections are those of a gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.postgres.pool import LONG_TIMEOUTS
from blocks.settings import Settings


@asynccontextmanager
async def patient_custody(custody: Custody, settings: Settings) -> AsyncGenerator[Custody]:
    """Yield the storage of *custody* on connections of its own, whose statements may take as long as they need."""
    async with Catalog.open(settings.required_database_url, LONG_TIMEOUTS) as catalog:
        yield Custody(catalog=catalog, backend=custody.backend, keys=custody.keys, keeps_index=custody.keeps_index)
