"""The rows of transfers: progress by ranges, one end, expiry by the database's clock, and lists."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.catalog import Catalog
from blocks.errors import InvalidOptions, TransferNotFound, TransferOver
from blocks.transfers import (
    NewTransfer,
    Transfer,
    create_transfer,
    declare_upload,
    due_to_expire,
    end_transfer,
    get_transfer,
    list_transfers,
    record_progress,
    require_open,
)
from tests.integration.custody_place import Place, draft

HOUR = timedelta(hours=1)


def download(**more: Any) -> NewTransfer:
    given: dict[str, Any] = {
        "direction": "download",
        "filename": "report.pdf",
        "media_type": "application/pdf",
        "sealed_for": "recipient",
        "recipient": "age1example",
        "header": b"header",
        "replaced_bytes": 6,
        "size": 1000,
        "lasts": HOUR,
        "requested_by": "key:000000000001",
    }
    return NewTransfer(**(given | more))


async def test_ranges_are_counted_once_and_repeated_bytes_only_as_sent(database_url: str) -> None:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        made = await create_transfer(connection, download())
        assert (made.state, made.done_bytes, made.header, made.progress) == ("pending", 0, b"header", 0.0)
        steps = [([(0, 100)], 100), ([(50, 300), (900, 1000)], 400), ([(0, 1000)], 1000)]
        for ranges, done in steps:
            sent = sum(beyond - first for first, beyond in ranges)
            assert (
                await record_progress(connection, made.transfer_id, ranges, sent_bytes=sent, bytes_per_second=5.0)
                == done
            )
        found = await get_transfer(connection, made.transfer_id)
        assert (found.state, found.done_bytes, found.sent_bytes, found.progress) == ("in_progress", 1000, 1450, 1.0)
        assert found.started_at is not None and found.progress_at is not None and found.bytes_per_second == 5.0


async def test_a_transfer_ends_once_and_what_is_over_records_nothing(database_url: str) -> None:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        made = await create_transfer(connection, download())
        assert not await end_transfer(connection, made.transfer_id, "expired")
        assert await end_transfer(connection, made.transfer_id, "completed")
        assert not await end_transfer(connection, made.transfer_id, "failed", error="too late")
        assert (
            await record_progress(connection, made.transfer_id, [(0, 9)], sent_bytes=9, bytes_per_second=None) is None
        )
        found = await get_transfer(connection, made.transfer_id)
        assert (found.state, found.error, found.header, found.done_bytes) == ("completed", None, None, 0)
        with pytest.raises(TransferOver, match="is completed"):
            require_open(found)


async def test_one_whose_time_is_over_is_expired_by_the_databases_clock(database_url: str) -> None:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        made = await create_transfer(connection, download(lasts=timedelta(seconds=-1)))
        assert (made.state, made.ended_at) == ("expired", made.expires_at)
        assert not await end_transfer(connection, made.transfer_id, "completed")
        assert [one.transfer_id for one in await due_to_expire(connection, 10)] == [made.transfer_id]
        assert await end_transfer(connection, made.transfer_id, "expired", error="nothing was fetched")
        assert await due_to_expire(connection, 10) == []


async def test_an_upload_is_declared_once(database_url: str, tmp_path: Path) -> None:
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path)
        artifact = await place.custody.take(draft(), b"content")
        async with catalog.connection() as connection:
            made = await create_transfer(
                connection, download(direction="upload", size=None, header=None, replaced_bytes=0, sealed_for="storage")
            )
            assert await declare_upload(connection, made.transfer_id, file_id=artifact.file_id, size=9, filename="a.md")
            assert not await declare_upload(connection, made.transfer_id, file_id=artifact.file_id, size=10)
            found = await get_transfer(connection, made.transfer_id)
            assert (found.size, found.filename, found.state) == (9, "a.md", "in_progress")


async def test_lists_are_newest_first_in_pages_and_filtered(database_url: str) -> None:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        made: list[Transfer] = [await create_transfer(connection, download(size=size)) for size in range(1, 6)]
        await end_transfer(connection, made[0].transfer_id, "cancelled")
        page = await list_transfers(connection, state="pending", limit=3)
        assert [one.size for one in page.transfers] == [5, 4, 3] and page.next is not None
        rest = await list_transfers(connection, state="pending", limit=3, after=page.next)
        assert [one.size for one in rest.transfers] == [2] and rest.next is None
        assert (await list_transfers(connection, direction="upload")).transfers == []
        with pytest.raises(TransferNotFound):
            await get_transfer(connection, "trf_0000000000000000")
        with pytest.raises(InvalidOptions):
            await get_transfer(connection, "trf_x")
