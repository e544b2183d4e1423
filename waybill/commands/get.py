"""``waybill files get``: copy a file out of custody."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from blocks.errors import InvalidOptions, TargetUnwritable
from blocks.naming import clean_display_name, metadata_view_name, report_view_name
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import StopCheck, in_thread
from waybill.commands.arguments import AsJson, Force, replaceable, this_account, typed_path
from waybill.commands.output import print_json
from waybill.commands.session import with_custody
from waybill.commands.standard_streams import standard_output_errors

if TYPE_CHECKING:
    from blocks.catalog import Artifact
    from blocks.custody import Custody
    from blocks.settings import Settings

View = Literal["content", "meta", "report"]


def get(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file's id, its first 8 digits or more, or its whole name.")
    ],
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="A file or folder to write to; - for standard output.")
    ] = None,
    view: Annotated[
        str, typer.Option(help="content; or meta or report, the JSON views of a stage output.")
    ] = "content",
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Copy a file out of custody, verified against its sha256.

    No file appears when the check fails. On standard output pieces are written as they are read, the last one after all
    have been compared: use the output only if the exit code is 0.
    """
    if view not in {"content", "meta", "report"}:
        raise InvalidOptions(f"--view takes content, meta or report, not {view!r}")
    if output == "-" and as_json:
        raise InvalidOptions("--json and --output - both want standard output; choose one")

    async def work(custody: Custody, _: Settings) -> tuple[Artifact, Path | None]:
        from waybill.services.files import record_download
        from waybill.services.short_ids import find_file_by_name

        async with custody.catalog.connection() as connection:
            wanted = await find_file_by_name(connection, file)
        artifact = await custody.get(wanted)
        if view == "content":
            await record_download(custody, artifact, by=this_account())
        if output == "-":
            if view == "content":
                await _print_content(custody, artifact)
            else:
                await asyncio.to_thread(_write_out, _render_view(artifact, view))
            return artifact, None
        target = _target(artifact, output, cast("View", view), force=force)
        if view == "content":
            await custody.fetch(artifact, target)
        else:
            await asyncio.to_thread(_write_file, target, _render_view(artifact, view))
        return artifact, target

    artifact, target = with_custody(work, reaches_storage=True)
    if as_json:
        print_json({**artifact.summary(), "path": str(target)})
    elif target is not None:
        typer.echo(str(target))
    return 0


def _render_view(artifact: Artifact, view: str) -> bytes:
    content = artifact.metadata_view() if view == "meta" else artifact.report_view()
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _write_file(target: Path, content: bytes) -> None:
    try:
        with atomic_file(target) as stream:
            stream.write(content)
    except OSError as exc:
        raise TargetUnwritable(f"cannot write {target}: {exc.strerror}") from exc


async def _print_content(custody: Custody, artifact: Artifact) -> None:
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
    """Return the path to write to: *output*, or the file's own name in the folder *output* or in the current one."""
    name = clean_display_name(_view_name(artifact, view))
    target = typed_path(output) if output is not None else Path(name)
    if os.path.isdir(target):  # noqa: PTH112 - False where a name is too long or its folder is closed; Path.is_dir raises
        target = target / name
    return replaceable(target, force=force)


def _view_name(artifact: Artifact, view: View) -> str:
    if view == "content":
        return artifact.filename
    if artifact.stage is None:
        raise InvalidOptions("only stage outputs have a meta and a report view; 'files show' shows all about a file")
    source_name = clean_display_name(artifact.source_file)
    named = metadata_view_name if view == "meta" else report_view_name
    return named(source_name, artifact.stage)
