"""Looking through custody for damage: many files, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Literal

from blocks.catalog import Artifact
from blocks.custody.custody import Custody
from blocks.errors import ArtifactNotFound, BlobMissing, ContentMismatch, WaybillError
from blocks.runtime.concurrency import bounded_map

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


async def verify_many(custody: Custody, artifacts: AsyncIterable[Artifact]) -> AsyncGenerator[Finding]:
    """Verify *artifacts*, `FILES_AT_ONCE` at a time; findings come as they are made. A file that went is left out."""
    async with aclosing(bounded_map(FILES_AT_ONCE, artifacts, partial(verify_one, custody))) as findings:
        async for finding in findings:
            # A file that was removed between the list and the look is no finding.
            if not isinstance(finding.error, ArtifactNotFound):
                yield finding
