"""``waybill files ...`` and ``waybill stats``: what is in custody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from blocks.errors import InvalidOptions, TargetUnwritable, WaybillError
from blocks.naming import clean_display_name
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import StopCheck, in_thread
from waybill.commands import verify
from waybill.commands.account import this_account
from waybill.commands.output import human_size, human_time, print_json, print_line, print_notice, print_table
from waybill.commands.paths import replaceable, typed_path
from waybill.commands.session import read_id, with_custody
from waybill.commands.standard_streams import standard_output_errors

if TYPE_CHECKING:
    from blocks.catalog import Artifact, Page
    from blocks.custody import Custody
    from blocks.settings import Settings

app = typer.Typer(help="List, show, get, add, share, pin, remove and verify files in custody.", no_args_is_help=True)

FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id, as 'files list' shows it.")]
FileIds = Annotated[list[str], typer.Argument(metavar="ID...", help="File ids, as 'files list' shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
View = Literal["content", "meta", "report"]


@app.command("list")
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
    """List files, newest first. Examples: waybill files list --source report.pdf / waybill files list --stage 3"""
    from blocks.catalog import KINDS

    if kind is not None and kind not in KINDS:
        raise InvalidOptions(f"there is no kind {kind!r}; known are {', '.join(KINDS)}")
    run_id = read_id(run) if run is not None else None

    async def work(custody: Custody, _: Settings) -> Page:
        async with custody.catalog.transaction() as connection:
            return await custody.catalog.list_artifacts(
                connection,
                source=_source_as_stored(source),
                stage=stage,
                run_id=run_id,
                kind=kind,
                limit=limit,
                after=after,
            )

    page = with_custody(work)
    if as_json:
        print_json({"files": [artifact.listing() for artifact in page.artifacts], "next": page.next})
        return 0
    print_table(
        ("id", "name", "kind", "stage", "size", "made", "expires", "source"),
        [_row(artifact) for artifact in page.artifacts],
        numeric=("size",),
    )
    if page.next:
        print_notice(f"more: waybill files list ... --after {page.next}")
    return 0


@app.command()
def show(file_id: FileId, as_json: AsJson = False) -> int:
    """Show everything the catalogue knows of a file, where its stored bytes lie, and how its stage went."""
    wanted = read_id(file_id)

    async def work(custody: Custody, _: Settings) -> tuple[Artifact, str]:
        artifact = await custody.get(wanted)
        return artifact, custody.locate(artifact)

    artifact, location = with_custody(work)
    shown = {**artifact.metadata_view(), "location": location, "report": dict(artifact.report)}
    if as_json:
        print_json(shown)
        return 0
    for key, value in shown.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
        print_line(f"{key:16} {text}")
    return 0


@app.command()
def get(
    file_id: FileId,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="A file or folder to write to; - for standard output.")
    ] = None,
    view: Annotated[
        str, typer.Option(help="content; or meta or report, the JSON views of a stage output.")
    ] = "content",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: AsJson = False,
) -> int:
    """Copy a file out of custody, verified against its sha256. No file appears when the check fails.

    On standard output its pieces are written as they are read, the last one when all have been compared: use it only if
    the command has ended with exit code 0.
    """
    wanted = read_id(file_id)
    if view not in {"content", "meta", "report"}:
        raise InvalidOptions(f"--view takes content, meta or report, not {view!r}")
    if output == "-" and as_json:
        raise InvalidOptions("--json and --output - both want standard output; choose one")

    async def work(custody: Custody, _: Settings) -> tuple[Artifact, Path | None]:
        from waybill.services.files import note_copy

        artifact = await custody.get(wanted)
        if view == "content":
            await note_copy(custody, artifact, by=this_account())
        if output == "-":
            if view == "content":
                await _print(custody, artifact)
            else:
                await asyncio.to_thread(_write_out, _view(artifact, view))
            return artifact, None
        target = _target(artifact, output, cast("View", view), force=force)
        if view == "content":
            await custody.fetch(artifact, target)
        else:
            await asyncio.to_thread(_write, target, _view(artifact, view))
        return artifact, target

    artifact, target = with_custody(work)
    if as_json:
        print_json({**artifact.summary(), "path": str(target)})
    elif target is not None:
        typer.echo(str(target))
    return 0


@app.command()
def put(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file to take into custody.")],
    as_json: AsJson = False,
) -> int:
    """Take a file into custody without processing it. Process it later with: waybill process waybill:ID"""

    async def work(custody: Custody, settings: Settings) -> Artifact:
        from blocks.catalog import Draft
        from blocks.storage import Expected
        from tasks.intake import examine
        from waybill.services.files import taken_in

        source = str(typed_path(path).absolute())
        info = await asyncio.to_thread(examine, Path(source), source, settings.max_file_mib * 2**20)
        draft = Draft(
            kind="upload",
            filename=info.name,
            source_file=info.source,
            document_sha256=info.sha256,
            media_type=info.media_type,
            keep_for=timedelta(days=settings.retention_days),
        )
        expected = Expected(size=info.size_bytes, sha256=info.sha256)
        make_available = taken_in(custody, by=this_account())
        return await custody.take(draft, Path(source), expected=expected, make_available=make_available)

    artifact = with_custody(work)
    if as_json:
        print_json(artifact.listing())
    else:
        print_line(f"{artifact.file_id}  {artifact.filename}  {human_size(artifact.size)}")
    return 0


@app.command()
def rm(file_ids: FileIds, as_json: AsJson = False) -> int:
    """Remove files for good, expired ones too: the bytes go, the catalogue keeps that they were there."""

    async def remove(custody: Custody, artifact: Artifact) -> None:
        from waybill.services.files import delete_file

        await delete_file(custody, artifact.file_id, by=this_account())

    return _each("removed", file_ids, remove, as_json=as_json)


app.command("verify")(verify.verify)


def stats(as_json: AsJson = False) -> int:
    """Show how much is in custody, by kind and by stage, and how much can be searched."""

    async def work(custody: Custody, _: Settings) -> dict[str, Any]:
        from blocks.search_index import statistics

        async with custody.catalog.transaction() as connection:
            counted = await custody.catalog.statistics(connection)
            return {**counted, "search_index": asdict(await statistics(connection))}

    found = with_custody(work)
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
                human_size(group["bytes"]),
                human_time(group["oldest"]) if group["oldest"] else "",
                human_time(group["newest"]) if group["newest"] else "",
            )
            for name, group in rows
        ],
        numeric=("files", "bytes"),
    )
    typer.echo("search index: " + ", ".join(f"{value:,} {key}" for key, value in found["search_index"].items()))
    return 0


def _each(verb: str, file_ids: list[str], act: Callable[[Custody, Artifact], Awaitable[None]], *, as_json: bool) -> int:
    """Do one thing to each file, expired ones too; a failure is told and does not keep the others from it."""
    wanted = [read_id(file_id) for file_id in file_ids]

    async def work(custody: Custody, _: Settings) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for file_id in wanted:
            try:
                artifact = await custody.get(file_id, even_expired=True)
                await act(custody, artifact)
            except WaybillError as error:
                results.append({"file_id": str(file_id), "state": "failed", "error": error.message})
            else:
                results.append({**artifact.summary(), "state": verb, "error": None})
        return results

    results = with_custody(work)
    failed = [result for result in results if result["error"]]
    if as_json:
        print_json({"files": results, verb: len(results) - len(failed), "failed": len(failed)})
    for result in results:
        if result["error"]:
            print_notice(f"{result['file_id']}: {result['state']}: {result['error']}")
        elif not as_json:
            print_line(f"{result['file_id']}  {result['filename']}  {verb}")
    return 1 if failed else 0


def _row(artifact: Artifact) -> tuple[str, ...]:
    return (
        str(artifact.file_id),
        artifact.filename,
        artifact.kind,
        f"{artifact.stage} {artifact.stage_name}" if artifact.stage else "",
        human_size(artifact.size),
        human_time(artifact.created_at.isoformat()),
        human_time(artifact.expires_at.isoformat()),
        artifact.source_file,
    )


def _source_as_stored(source: str | None) -> str | None:
    """A local path is catalogued whole; a bare name is left as it is and matches by name."""
    if source is None or "://" in source or "/" not in source:
        return source
    return str(typed_path(source).absolute())


def _view(artifact: Artifact, view: str) -> bytes:
    content = artifact.metadata_view() if view == "meta" else artifact.report_view()
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _write(target: Path, content: bytes) -> None:
    from blocks.runtime.atomic_file import atomic_file

    try:
        with atomic_file(target) as stream:
            stream.write(content)
    except OSError as exc:
        raise TargetUnwritable(f"cannot write {target}: {exc.strerror}") from exc


async def _print(custody: Custody, artifact: Artifact) -> None:
    """Write the content to standard output as it is read, in constant memory."""
    async with custody.open_content(artifact) as content:

        def copy(check: StopCheck) -> None:
            for piece in prefetch(content.read_range(0, content.size)):
                check()
                _write_out(piece)

        await in_thread(copy)


def _write_out(content: bytes) -> None:
    with standard_output_errors():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _target(artifact: Artifact, output: str | None, view: View, *, force: bool) -> Path:
    """Where to write: the name given, or the file's own clean name in the folder given or in this one."""
    name = clean_display_name(_view_name(artifact, view))
    target = typed_path(output) if output is not None else Path(name)
    if os.path.isdir(target):  # noqa: PTH112 - says no where a name is too long or its folder is closed
        target = target / name
    return replaceable(target, force=force)


def _view_name(artifact: Artifact, view: View) -> str:
    from blocks.naming import metadata_view_name, report_view_name

    if view == "content":
        return artifact.filename
    if artifact.stage is None:
        raise InvalidOptions("only stage outputs have a meta and a report view; 'files show' tells all about a file")
    source_name = clean_display_name(artifact.source_file)
    named = metadata_view_name if view == "meta" else report_view_name
    return named(source_name, artifact.stage)
