"""Verify many stored files, a few at a time."""

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

# Small files mostly wait for the storage and the catalogue; large ones keep both cores busy by themselves.
CONCURRENT_FILES = 4

Outcome = Literal["verified", "damaged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome for one file. `content_checked` is false where only the stored bytes were, for lack of the key."""

    artifact: Artifact
    outcome: Outcome
    content_checked: bool = False
    error: WaybillError | None = None


async def verify_one(custody: Custody, artifact: Artifact) -> Finding:
    """Read one file's stored bytes; return errors as findings."""
    try:
        complete = await custody.verify(artifact)
    except (ContentMismatch, BlobMissing) as error:
        return Finding(artifact=artifact, outcome="damaged", error=error)
    except WaybillError as error:
        return Finding(artifact=artifact, outcome="failed", error=error)
    return Finding(artifact=artifact, outcome="verified", content_checked=complete)


async def verify_many(custody: Custody, artifacts: AsyncIterable[Artifact]) -> AsyncGenerator[Finding]:
    """Verify *artifacts*, `CONCURRENT_FILES` at a time; yield findings as they are made, without deleted files."""
    async with aclosing(bounded_map(CONCURRENT_FILES, artifacts, partial(verify_one, custody))) as findings:
        async for finding in findings:
            # A file that was deleted after it was listed is no finding.
            if not isinstance(finding.error, ArtifactNotFound):
                yield finding
