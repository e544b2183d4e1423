"""Looking through custody for damage: many files, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Literal

from blocks.catalog import Artifact
from blocks.custody.custody import Custody
from blocks.errors import ArtifactNotFound, BlobMissing, ContentMismatch, WaybillError

# Small files are mostly waiting for the storage and the catalogue, large ones keep both cores busy by themselves.
FILES_AT_ONCE = 4

Outcome = Literal["verified", "damaged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one file. `content_checked` is false where only the stored bytes could be, for lack of the key."""

    artifact: Artifact
    outcome: Outcome
    content_checked: bool = False
    error: WaybillError | None = None


async def verify_one(custody: Custody, artifact: Artifact) -> Finding:
    """Read one file's stored bytes; whatever is wrong becomes the finding."""
    try:
        complete = await custody.verify(artifact)
    except (ContentMismatch, BlobMissing) as error:
        return Finding(artifact=artifact, outcome="damaged", error=error)
    except WaybillError as error:
        return Finding(artifact=artifact, outcome="failed", error=error)
    return Finding(artifact=artifact, outcome="verified", content_checked=complete)


async def verify_many(custody: Custody, artifacts: AsyncIterable[Artifact]) -> AsyncIterator[Finding]:
    """Verify *artifacts*, `FILES_AT_ONCE` at a time; findings come as they are made. A file that went is left out."""
    at_work: set[asyncio.Task[Finding]] = set()
    try:
        async for artifact in artifacts:
            if len(at_work) == FILES_AT_ONCE:
                done, at_work = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if _is_there(task.result()):
                        yield task.result()
            at_work.add(asyncio.create_task(verify_one(custody, artifact)))
        for task in asyncio.as_completed(at_work):
            finding = await task
            if _is_there(finding):
                yield finding
    finally:
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)


def _is_there(finding: Finding) -> bool:
    """A file that was removed between the list and the look is no finding."""
    return not isinstance(finding.error, ArtifactNotFound)
