"""``waybill files verify``: compare stored bytes with the hashes in the catalogue."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.errors import ArtifactNotFound, InvalidOptions
from blocks.runtime.in_words import size
from waybill.commands.arguments import AsJson, check_ids, find_files
from waybill.commands.output import print_json, print_line, print_notice, progress_bar
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from uuid import UUID

    from blocks.catalog import Artifact
    from blocks.custody import Custody
    from blocks.custody.verify import Finding
    from blocks.settings import Settings


def verify(
    file_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="File ids, as 'files list' shows them; 8 digits do.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every available file.")] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="This many files: those not verified for the longest time.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Compare stored bytes with their hashes.

    Reads them and checks the hashes and authentication tags that were recorded when they were stored. A damaged file
    is marked in the catalogue, is not reused, and is made again by the next run. Without the secret key only the hash
    of the stored bytes is checked; that is a failure unless WAYBILL_STORAGE_RECIPIENT says that the key is elsewhere.

    Examples: waybill files verify ID / waybill files verify --sample 100 / waybill files verify --all
    """
    check_ids(file_ids or [])
    if sum((bool(file_ids), everything, sample is not None)) != 1:
        raise InvalidOptions("give file ids, or --all, or --sample N")
    tally = _Tally(each_shown=bool(file_ids))

    async def work(custody: Custody, settings: Settings) -> None:
        from blocks.catalog.maintenance import longest_unverified
        from blocks.custody.verify import verify_many

        tally.key_is_elsewhere = settings.storage_recipient is not None

        wanted = await find_files(custody, file_ids or [])
        chosen = _named(custody, wanted, tally) if wanted else longest_unverified(custody.catalog, sample)
        total = len(wanted) or sample or await _count(custody)
        with progress_bar("verifying") as show:
            async for finding in verify_many(custody, chosen):
                tally.add(finding)
                done = tally.counts.total()
                show(100 * done / max(total, done), f"{done} of {total} files")

    started = time.perf_counter()
    with_custody(work, reaches_storage=True)
    return tally.report(seconds=time.perf_counter() - started, as_json=as_json)


async def _named(custody: Custody, wanted: list[UUID], tally: _Tally) -> AsyncIterator[Artifact]:
    for file_id in wanted:
        try:
            yield await custody.get(file_id)
        except ArtifactNotFound as error:
            tally.add_unknown(file_id, error)


async def _count(custody: Custody) -> int:
    async with custody.catalog.connection() as connection:
        return int((await custody.catalog.statistics(connection))["total"]["count"])


@dataclass
class _Tally:
    """Results so far. Without *each_shown* only the files with a problem are kept, one that no key opens included."""

    each_shown: bool
    key_is_elsewhere: bool = False
    without_key: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    stored_bytes_only: int = 0
    read_bytes: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, finding: Finding) -> None:
        self.counts[finding.outcome] += 1
        if finding.outcome == "verified":
            self.read_bytes += finding.artifact.stored_size
            self.stored_bytes_only += not finding.content_checked
        is_closed = finding.outcome == "verified" and not finding.content_checked and not self.key_is_elsewhere
        self.without_key += is_closed
        if self.each_shown or is_closed or finding.error is not None:
            self.listed.append(
                {
                    **finding.artifact.summary(),
                    "state": finding.outcome,
                    "content_checked": finding.content_checked,
                    "error": finding.error.message if finding.error else None,
                }
            )

    def add_unknown(self, file_id: UUID, error: ArtifactNotFound) -> None:
        self.counts["failed"] += 1
        self.listed.append({"file_id": str(file_id), "state": "failed", "error": error.message})

    def report(self, *, seconds: float, as_json: bool) -> int:
        """Print the results and return the exit code."""
        counts = {outcome: self.counts[outcome] for outcome in ("verified", "damaged", "failed")}
        if as_json:
            sums = {"stored_bytes_only": self.stored_bytes_only, "bytes": self.read_bytes, "seconds": round(seconds, 3)}
            print_json({"files": self.listed, **counts, **sums})
        for one in self.listed:
            if one["error"]:
                print_notice(f"{one['file_id']}: {one['state']}: {one['error']}")
            elif not as_json:
                checked = "" if one["content_checked"] else " by its stored bytes alone"
                print_line(f"{one['file_id']}  {one['filename']}  {one['state']}{checked}")
        if not as_json:
            read = f"{size(self.read_bytes)} in {seconds:.1f} s"
            typer.echo(
                f"{counts['verified']:,} verified ({read}), {counts['damaged']:,} damaged, {counts['failed']:,} failed"
            )
        if self.stored_bytes_only:
            print_notice(
                f"{self.stored_bytes_only:,} of them by their stored bytes alone: the key to decrypt them is not here"
            )
        return 1 if counts["damaged"] or counts["failed"] or self.without_key else 0
