"""Operations on files in custody. Each commits together with its entry in the audit log. Checks no permissions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from blocks.access import Actor, record
from blocks.catalog import Artifact, Connection
from blocks.catalog.keeping import extend, hold, release
from blocks.custody import Custody, MakeAvailable
from blocks.durations import parse_moment, parse_period
from blocks.errors import ArtifactGone, InvalidOptions
from blocks.links import Link

RowWriter = Callable[[Connection, Artifact], Awaitable[None]]
"""Writes more rows in the transaction that makes a file available; an error undoes all of it."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A file and a link to it."""

    artifact: Artifact
    link: Link
    direct: bool

    def as_json(self) -> dict[str, Any]:
        """Return the link in the form of `--json` and the API."""
        return {
            "file_id": str(self.artifact.file_id),
            "url": self.link.url,
            "expires_at": self.link.expires_at.isoformat(),
            "direct": self.direct,
            "capped": self.link.capped,
        }


async def delete_file(custody: Custody, file_id: UUID, *, by: Actor) -> Artifact:
    """Delete a file for good, also an expired one, and return it.

    Also finishes an interrupted deletion, and then raises `ArtifactGone`. Raises `ArtifactPinned`,
    `ArtifactNotFound`, also as `ArtifactGone`, and what storage and catalogue raise.
    """
    catalog = custody.catalog
    artifact: Artifact | None = None
    async with catalog.transaction() as connection:
        # Of several concurrent deletions, the first one deletes it.
        if await catalog.lock_state(connection, file_id) != "deleting":
            artifact = await catalog.get(connection, file_id, even_expired=True)
            await catalog.begin_deletion(connection, file_id)
            await record(connection, by.entry("delete", file_id=file_id, detail={"filename": artifact.filename}))
    with suppress(ArtifactGone):
        await custody.remove(file_id)
    if artifact is None:
        raise ArtifactGone(f"file {file_id} was deleted already", file_id=file_id)
    return artifact


async def pin_file(custody: Custody, file_id: UUID, *, note: str | None, by: Actor) -> Artifact:
    """Keep a file past its expiry. Raises `ArtifactNotFound`, also as `ArtifactGone`."""
    async with custody.catalog.transaction() as connection:
        artifact = await custody.catalog.pin(connection, file_id, note=note)
        await record(connection, by.entry("pin", file_id=file_id))
    return artifact


async def unpin_file(custody: Custody, file_id: UUID, *, by: Actor) -> Artifact:
    """Let a file expire again. Raises `ArtifactNotFound`, also as `ArtifactGone`."""
    async with custody.catalog.transaction() as connection:
        artifact = await custody.catalog.unpin(connection, file_id)
        await record(connection, by.entry("unpin", file_id=file_id))
    return artifact


async def hold_file(custody: Custody, file_id: UUID, *, note: str | None, by: Actor) -> Artifact:
    """Put a file under a legal hold, also an expired one that is still stored. Raises `ArtifactNotFound`."""
    async with custody.catalog.transaction() as connection:
        artifact = await hold(connection, file_id, note=note)
        await record(connection, by.entry("hold", file_id=file_id, detail={"note": note} if note else {}))
    return artifact


async def release_file(custody: Custody, file_id: UUID, *, by: Actor) -> Artifact:
    """Lift the legal hold of a file. Raises `ArtifactNotFound`, also as `ArtifactGone`."""
    async with custody.catalog.transaction() as connection:
        artifact = await release(connection, file_id) or await custody.catalog.get(connection, file_id)
        await record(connection, by.entry("release", file_id=file_id))
    return artifact


async def extend_file(
    custody: Custody,
    file_id: UUID,
    end: timedelta | datetime,
    *,
    shorten: bool = False,
    even_expired: bool = False,
    by: Actor,
) -> tuple[Artifact, bool]:
    """Let a file expire at *end*, a time or how long from now. Return it, and whether its expiry has changed.

    One that stays for longer already is left as it is, unless *shorten* is given. Raises `InvalidOptions` for a time
    that has passed, and `ArtifactNotFound`; unless *even_expired*, an expired file is `ArtifactGone`.
    """
    catalog = custody.catalog
    async with catalog.transaction() as connection:
        await catalog.lock_state(connection, file_id)
        before = await catalog.get(connection, file_id, even_expired=even_expired)
        after = await extend(connection, file_id, end, shorten=shorten, even_expired=even_expired)
        if after is None:
            return before, False
        detail = {"from": before.expires_at.isoformat(), "until": after.expires_at.isoformat()}
        await record(connection, by.entry("extend", file_id=file_id, detail=detail))
    return after, True


async def share_file(
    custody: Custody, file_id: UUID, make_link: Callable[[Artifact], Link], *, direct: bool = False, by: Actor
) -> Shared:
    """Make a link. *make_link* runs in a thread. Raises `ArtifactNotFound` and what *make_link* raises."""
    artifact = await custody.get(file_id)
    link = await asyncio.to_thread(make_link, artifact)
    detail = {"expires_at": link.expires_at.isoformat(), "direct": direct}
    async with custody.catalog.connection() as connection:
        await record(connection, by.entry("share", file_id=file_id, detail=detail))
    return Shared(artifact=artifact, link=link, direct=direct)


def read_end(keep_for: str | None, until: str | None) -> timedelta | datetime:
    """Return the end that one of two texts means: a length of time, or a time. Raises `InvalidOptions`.

    A day alone means its beginning in UTC; a time of day needs its zone.
    """
    if (keep_for is None) == (until is None):
        raise InvalidOptions("say either how long the file is to stay, such as 90d, or until when, such as 2027-01-31")
    if until is None:
        return parse_period(keep_for or "")
    return parse_moment(until)


def recorded_upload(custody: Custody, *, also: RowWriter | None = None, by: Actor) -> MakeAvailable:
    """Return a `MakeAvailable` for `Custody.take` that also records the upload and runs *also*, in one transaction."""

    async def make_available(artifact: Artifact) -> Artifact:
        async with custody.catalog.transaction() as connection:
            detail = {"filename": artifact.filename, "size": artifact.size}
            await record(connection, by.entry("upload", file_id=artifact.file_id, detail=detail))
            if also is not None:
                await also(connection, artifact)
            return await custody.catalog.make_available(connection, artifact)

    return make_available


async def record_download(custody: Custody, artifact: Artifact, *, by: Actor) -> None:
    """Record a download. Call it before the first byte is sent."""
    async with custody.catalog.connection() as connection:
        await record(connection, by.entry("download", file_id=artifact.file_id))
