"""Progress of long transfers in Prefect's UI: one progress artifact each, in addition to the answer of ``.../status``.

It only shows what happens, so it never fails or slows a transfer: what is noted here is sent by a task of its own, and
left out while Prefect does not answer. An artifact belongs to no run, so Prefect keeps it for ever: it goes a day after
its last change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ObjectNotFound

from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.clock import Clock, utc_now
from blocks.runtime.outage_log import OutageLog
from blocks.transfers.progress import Progress

# Shorter transfers are over before a person has found them in the UI.
_LONG_SECONDS = 5.0
# As often as the UI asks.
_PAUSE_SECONDS = 2.0
_KEEP = timedelta(days=1)
_CLEAN_UP_SECONDS = 3600.0
# At a time; those that are left go an hour later.
_MOST_REMOVED = 200
# Transfers that are remembered; one that has been silent for longest is forgotten, and shows no further progress.
_MOST_FOLLOWED = 1000
_KEY = "transfer-"

_LOG = logging.getLogger("waybill.transfers")


@dataclass(eq=False)
class _Followed:
    began_at: float
    newest: Progress
    is_shown: bool = False
    artifact_id: UUID | None = None


class TransferArtifacts:
    """Shows what it observes, while `run` is running."""

    def __init__(
        self,
        prefect: PrefectApi,
        *,
        long_seconds: float = _LONG_SECONDS,
        pause_seconds: float = _PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Clock = utc_now,
    ) -> None:
        self._prefect = prefect
        self._long_seconds = long_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._now = now
        self._followed: dict[str, _Followed] = {}
        self._outage = OutageLog(_LOG, "the progress of transfers in Prefect")

    def observe(self, progress: Progress) -> None:
        """Note the progress of a transfer. Costs nothing without a Prefect server."""
        if not self._prefect.configured:
            return
        transfer_id = progress.transfer.transfer_id
        known = self._followed.pop(transfer_id, None) or _Followed(self._clock(), progress)
        known.newest, known.is_shown = progress, False
        self._followed[transfer_id] = known  # at the end: the newest
        if len(self._followed) > _MOST_FOLLOWED:
            del self._followed[next(iter(self._followed))]

    async def run(self) -> None:
        """Show what is noted, until cancelled."""
        clean_up_at = self._clock()
        while self._prefect.configured:
            try:
                if self._clock() >= clean_up_at:
                    await self._remove_old()
                    clean_up_at = self._clock() + _CLEAN_UP_SECONDS
                for one in list(self._followed.values()):
                    await self._show(one)
            except Exception as error:  # noqa: BLE001 - it only shows what is done
                self._outage.failed(error)
            else:
                self._outage.succeeded()
            await asyncio.sleep(self._pause_seconds)

    async def _show(self, one: _Followed) -> None:
        progress, transfer_id = one.newest, one.newest.transfer.transfer_id
        is_done = progress.done_bytes == progress.transfer.size
        if not one.is_shown and self._clock() - one.began_at >= self._long_seconds:
            one.is_shown = True
            percent, text = _percent(progress), _text(progress)
            async with self._prefect.client() as client:
                if one.artifact_id is None:
                    made = await client.create_artifact(
                        ArtifactCreate(key=key_of(transfer_id), type="progress", data=percent, description=text)
                    )
                    one.artifact_id = made.id
                else:
                    await client.update_artifact(one.artifact_id, ArtifactUpdate(data=percent, description=text))
        if is_done and one.newest is progress:
            self._followed.pop(transfer_id, None)

    async def _remove_old(self) -> None:
        ours = ArtifactFilter(key=ArtifactFilterKey(like_=f"{_KEY}%"))
        async with self._prefect.client() as client:
            found = await client.read_artifacts(artifact_filter=ours, limit=_MOST_REMOVED)
        for artifact in found:
            if artifact.updated is not None and artifact.updated < self._now() - _KEEP:
                async with self._prefect.client() as client:
                    try:
                        await client.delete_artifact(artifact.id)
                    except ObjectNotFound:
                        continue  # another gateway has removed it


def key_of(transfer_id: str) -> str:
    """Return the key of a transfer's artifact; Prefect's keys have no underscore."""
    return f"{_KEY}{transfer_id.removeprefix('trf_')}"


def _percent(progress: Progress) -> float:
    size = progress.transfer.size
    return round(100 * progress.done_bytes / size, 1) if size else 0.0


def _text(progress: Progress) -> str:
    """Return one line. The name comes from anywhere, so it is shown as code, which has no markup."""
    transfer = progress.transfer
    name = "".join(char for char in transfer.filename if char.isprintable() and char != "`")
    whose = f" of worker {transfer.worker}" if transfer.worker else ""
    parts = [f"{transfer.direction} of `{name}`{whose}: {progress.done_bytes:,} of {transfer.size or 0:,} bytes"]
    if progress.bytes_per_second is not None:
        parts.append(f"{progress.bytes_per_second / 1e6:,.1f} MB a second")
    return ", ".join(parts)
