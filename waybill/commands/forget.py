"""``waybill forget``: forget a document, or show what would go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.runtime.in_words import counted, size
from waybill.commands.arguments import AsJson, this_account
from waybill.commands.output import print_json, print_line, print_notice
from waybill.commands.session import with_custody
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.custody import Custody
    from blocks.settings import Settings

# What people call the things that went.
_NAMES = {
    "files": "files",
    "passages": "passages of the search index",
    "vectors": "vectors",
    "facts": "facts",
    "entities": "entities",
    "keywords": "keywords",
    "run_outputs": "entries of what runs delivered",
    "events": "events, without the document now",
    "deliveries_withdrawn": "webhooks that are not sent any more",
    "answers": "answers of webhook receivers",
    "transfers": "transfers that were open",
    "remote_jobs": "jobs of remote workers",
    "requests": "remembered requests",
    "log_names": "names in logs",
    "scratch_folders": "scratch folders",
}


def forget(
    document: Annotated[
        str,
        typer.Argument(
            metavar="DOCUMENT",
            help="Its path, URL or name, or its sha256 or the first 8 digits of that.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; change nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Forget pinned files too, and all contents that a source has had.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Forget a document: files, passages, events, and what Prefect shows of it.

    Prints a certificate of what went and of what cannot be reached, such as backups; the audit log keeps it. The source
    itself is not touched. A legal hold keeps a document. The same command goes on with what was interrupted.
    """

    # A path is stored as it was processed: whole. A name alone stands for all documents that have it.
    named = str(Path(document).absolute()) if "/" in document and "://" not in document else document

    async def work(custody: Custody, settings: Settings) -> list[dict[str, Any]]:
        from waybill.services.forgetting import forget_documents

        return await forget_documents(custody, settings, named, force=yes, dry_run=dry_run, by=this_account())

    found = with_custody(work)
    if as_json:
        print_json({"dry_run": dry_run, "documents": found})
        return 0
    for one in found:
        if dry_run:
            _show_foreseen(one)
        else:
            _show_certificate(one)
    return 0


def _show_foreseen(found: Mapping[str, Any]) -> None:
    print_line(f"document {found['sha256']}")
    for source in found["sources"]:
        print_line(f"  source {source}")
    for sha256 in found["made_from_it"]:
        print_line(f"  with the document {sha256}, which was made from it")
    print_table(
        ("file", "name", "kind", "size", "kept by"),
        [
            (one["file_id"], one["filename"], one["kind"], size(one["size"] or 0), _kept_by(one))
            for one in found["files"]
        ],
        numeric=("size",),
        cut=("name",),
        spare=("kind",),
    )
    indexed = ", ".join(f"{count:,} {name}" for name, count in found["index"].items())
    print_line(f"{counted(len(found['files']), 'file')} would go; of the search index {indexed}")
    print_line(f"the records of {counted(len(found['runs']), 'run')} would lose the document")
    if found["refused"]:
        print_notice(f"not now: {found['refused']}")
    print_notice("nothing was changed")


def _kept_by(file: Mapping[str, Any]) -> str:
    if file["held"]:
        return "a legal hold"
    return "a pin" if file["pinned"] else ""


def _show_certificate(certificate: Mapping[str, Any]) -> None:
    removed = dict(certificate["removed"])
    freed = removed.pop("bytes", 0)
    rows = [(f"{removed[name]:,}", shown) for name, shown in _NAMES.items() if removed.get(name)]
    rows += [(f"{count:,}", f"{name}, without its names now") for name, count in removed.items() if name[:4] == "rows"]
    rows += [(f"{count:,}", f"Prefect: {table}") for table, count in certificate["prefect"]["rows"].items()]
    print_line(f"forgotten: {certificate['sha256']} ({size(freed)})")
    print_table(("count", "what"), rows, numeric=("count",))
    for table, count in certificate["left"].items():
        print_notice(f"left: {count:,} rows of {table} still have a name of it")
    for table, why in certificate["database_files"]["not_rewritten"].items():
        print_notice(f"the file of the table {table} may still have bytes of it: {why}")
    if certificate["exports_that_may_have_it"]:
        print_notice(f"exports that may have it: {', '.join(certificate['exports_that_may_have_it'])}")
    print_line("not reached:")
    for one in certificate["not_reached"]:
        print_line(f"  {one}")
