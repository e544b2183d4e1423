"""``waybill files list|show|put|rm`` and ``waybill stats``: what is in custody."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.errors import InvalidOptions, WaybillError
from blocks.runtime.in_words import counted, size
from waybill.commands.arguments import (
    AsJson,
    FileId,
    FileIds,
    KeepFor,
    check_ids,
    find_files,
    read_keep_for,
    this_account,
    typed_path,
)
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_catalog, with_custody
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blocks.catalog import Artifact, Catalog, Page
    from blocks.custody import Custody
    from blocks.settings import Settings

# What the search index counts, in the words of the figures.
_INDEXED = {
    "documents": "document",
    "chunks": "chunk",
    "vectors": "vector",
    "facts": "fact",
    "entities": "entity",
    "keywords": "keyword",
}


def list_files(
    source: Annotated[
        str | None, typer.Option(help="Only files made from this source: its path or URL, or its name alone.")
    ] = None,
    stage: Annotated[int | None, typer.Option(min=1, help="Only outputs of this stage.")] = None,
    run: Annotated[str | None, typer.Option(help="Only files that this run made or reused.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: stage_output, upload, transfer or export.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many files on one page.")] = 100,
    after: Annotated[str | None, typer.Option(help="Continue a list: the 'next' of the page before.")] = None,
    as_json: AsJson = False,
) -> int:
    """List files, newest first.

    Examples: waybill files list --source report.pdf / waybill files list --stage 3
    """
    from blocks.catalog import KINDS

    if kind is not None and kind not in KINDS:
        raise InvalidOptions(f"there is no kind {kind!r}; known are {', '.join(KINDS)}")
    if run is not None:
        check_ids([run])

    async def work(catalog: Catalog, _: Settings) -> Page:
        from waybill.services.short_ids import find_run_with_files

        async with catalog.transaction() as connection:
            return await catalog.list_artifacts(
                connection,
                source=_source_as_stored(source),
                stage=stage,
                run_id=await find_run_with_files(connection, run) if run is not None else None,
                kind=kind,
                limit=limit,
                after=after,
            )

    page = with_catalog(work)
    if as_json:
        print_json({"files": [artifact.listing() for artifact in page.artifacts], "next": page.next})
        return 0
    print_table(
        ("id", "name", "kind", "stage", "size", "made", "expires", "source"),
        [_row(artifact) for artifact in page.artifacts],
        numeric=("size",),
        cut=("name",),
        spare=("expires", "source", "kind", "made"),
    )
    if page.next:
        print_notice(f"more: waybill files list ... --after {page.next}")
    return 0


def show(file_id: FileId, as_json: AsJson = False) -> int:
    """Show everything the catalogue knows about a file.

    Also where its bytes are stored, and the report of its stage.
    """

    async def work(custody: Custody, settings: Settings) -> dict[str, Any]:
        from waybill.services.retention import outlook
        from waybill.services.short_ids import find_file_by_name

        async with custody.catalog.connection() as connection:
            wanted = await find_file_by_name(connection, file_id)
        artifact = await custody.get(wanted)
        found = await outlook(custody.catalog, settings, artifact)
        more = {"location": custody.locate(artifact), "report": dict(artifact.report)}
        return {**artifact.metadata_view(), **found.as_json(), **more}

    shown = with_custody(work)
    if as_json:
        print_json(shown)
        return 0
    for key, value in shown.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
        print_line(f"{key:16} {text}")
    return 0


def put(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file to store.")],
    keep_for: KeepFor = None,
    as_json: AsJson = False,
) -> int:
    """Store a file without processing it.

    Process it later with: waybill process waybill:ID
    """
    period = read_keep_for(keep_for)

    async def work(custody: Custody, settings: Settings) -> Artifact:
        from blocks.catalog import Draft
        from blocks.storage import Expected
        from tasks.examination import examine
        from waybill.services.files import recorded_upload

        source = str(typed_path(path).absolute())
        examined = await asyncio.to_thread(examine, Path(source), source, settings.max_file_mib * 2**20)
        info = examined.info
        draft = Draft(
            kind="upload",
            filename=info.name,
            source_file=info.source,
            document_sha256=info.sha256,
            media_type=info.media_type,
            keep_for=period or settings.retention.period("upload"),
        )
        expected = Expected(size=info.size_bytes, sha256=info.sha256)
        make_available = recorded_upload(custody, by=this_account())
        return await custody.take(draft, Path(source), expected=expected, make_available=make_available)

    artifact = with_custody(work, stores=True)
    if as_json:
        print_json(artifact.listing())
    else:
        print_line(f"{artifact.file_id}  {artifact.filename}  {size(artifact.size)}")
    return 0


def rm(file_ids: FileIds, as_json: AsJson = False) -> int:
    """Delete files for good, also expired ones.

    The bytes are deleted; the catalogue keeps a record that the files existed. A failure does not stop the others.
    """
    check_ids(file_ids)

    async def work(custody: Custody, _: Settings) -> list[dict[str, Any]]:
        from waybill.services.files import delete_file

        results: list[dict[str, Any]] = []
        for file_id in await find_files(custody, file_ids):
            try:
                artifact = await delete_file(custody, file_id, by=this_account())
            except WaybillError as error:
                results.append({"file_id": str(file_id), "state": "failed", "error": error.message})
            else:
                results.append({**artifact.summary(), "state": "removed", "error": None})
        return results

    results = with_custody(work)
    failed = [result for result in results if result["error"]]
    if as_json:
        print_json({"files": results, "removed": len(results) - len(failed), "failed": len(failed)})
    for result in results:
        if result["error"]:
            print_notice(f"{result['file_id']}: {result['state']}: {result['error']}")
        elif not as_json:
            print_line(f"{result['file_id']}  {result['filename']}  removed")
    return 1 if failed else 0


def stats(as_json: AsJson = False) -> int:
    """Show how much is in custody and in the search index.

    Counts files by kind and by stage.
    """

    async def work(catalog: Catalog, _: Settings) -> dict[str, Any]:
        from waybill.services.statistics import read_statistics

        return await read_statistics(catalog)

    found = with_catalog(work)
    if as_json:
        print_json(found)
        return 0
    rows = [("all", found["total"]), *found["by_kind"].items()]
    rows += [(f"stage {number}", group) for number, group in found["by_stage"].items()]
    print_table(
        ("what", "files", "bytes", "oldest", "newest"),
        [
            (
                name,
                f"{group['count']:,}",
                size(group["bytes"]),
                human_time(group["oldest"]) if group["oldest"] else "",
                human_time(group["newest"]) if group["newest"] else "",
            )
            for name, group in rows
        ],
        numeric=("files", "bytes"),
        spare=("oldest",),
    )
    index = dict(found["search_index"])
    stored = size(index.pop("size_bytes"))
    typer.echo("search index: " + ", ".join([*(counted(index[key], noun) for key, noun in _INDEXED.items()), stored]))
    print_line(_retention_line(found["retention"]))
    return 0


def _retention_line(found: Mapping[str, Any]) -> str:
    parts = [
        f"{found['expired']:,} expired and not removed yet",
        f"{found['expiring_within_a_day']:,} expire within a day",
        f"{found['pinned']:,} pinned",
        f"{found['held']:,} under a legal hold",
    ]
    following = found["next"]
    if following is not None:
        parts.append(f"next: {following['filename']} at {human_time(following['expires_at'])}")
    return "retention: " + ", ".join(parts)


def _row(artifact: Artifact) -> tuple[str, ...]:
    return (
        str(artifact.file_id),
        artifact.filename,
        artifact.kind,
        f"{artifact.stage} {artifact.stage_name}" if artifact.stage else "",
        size(artifact.size),
        human_time(artifact.created_at.isoformat()),
        "held" if artifact.held_at else "pinned" if artifact.pinned_at else human_time(artifact.expires_at.isoformat()),
        artifact.source_file,
    )


def _source_as_stored(source: str | None) -> str | None:
    """Return a local path in full, as the catalogue has it; a bare name stays as it is and matches by name."""
    if source is None or "://" in source or "/" not in source:
        return source
    return str(typed_path(source).absolute())
