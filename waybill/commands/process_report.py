"""What ``waybill process`` prints of a run: one line for each document, failures last, then what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.runtime.in_words import counted, size
from waybill.commands.output import print_line, print_notice
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from waybill.stack import StackAddresses

# With more documents than this the table would scroll away; failures, warnings and sums are shown instead.
MAX_DOCUMENTS_IN_TABLE = 100


def print_report(
    report: dict[str, Any], addresses: StackAddresses, *, total_seconds: float, with_files: bool = False
) -> None:
    """Print the *report* of a run that a person has waited *total_seconds* for; *with_files* with a line for each."""
    documents: list[dict[str, Any]] = report["documents"]
    completed = [document for document in documents if document["state"] != "failed"]
    if with_files:
        _print_files(documents, warned=bool(report["warning_summary"]))
        if left_out := report["counts"]["left_out"]:
            print_line(f"Files of {counted(left_out, 'more document')}: {report['rest']['command']}")
    elif len(documents) <= MAX_DOCUMENTS_IN_TABLE:
        _print_documents(completed)
    else:
        _print_warnings(documents)
    counts: dict[str, int] = report["counts"]
    done = counts["documents"] - counts["failed"]
    print_line("")
    print_line(
        f"{done:,} of {counted(counts['documents'], 'document')} completed in {total_seconds:.1f} s "
        f"({report['seconds']:.1f} s of it the run); "
        f"{counted(counts['files_made'], 'file')} made, {counts['files_reused']:,} reused."
    )
    if report["warning_summary"]:
        print_line(report["warning_summary"])
    print_line(f"Files:   waybill files list --run {report['run_id']}")
    if done:
        print_line("Search:  waybill search 'your question'")
    print_line(f"Run:     {_run_page(addresses, report['run_id'])}")
    if waiting := report.get("webhooks_waiting"):
        verb = "waits" if waiting == 1 else "wait"
        print_line(f"Webhooks: {waiting:,} {verb} for a receiver; 'waybill up' or 'waybill dispatch' sends what is due")
    failed = [document for document in documents if document["state"] == "failed"]
    for document in failed:
        print_notice(f"failed: {document['source']}: {document['error']}")
    if more := counts["failed_left_out"]:
        print_notice(f"failed: {more:,} more; Prefect's log of the run names them")


def _print_documents(documents: list[dict[str, Any]]) -> None:
    rows = [_document_row(document) for document in documents]
    columns = ("document", "pages", "chunks", "facts", "seconds", "reused", "warnings")
    if rows:
        # The name is cut, so that a terminal shows one line for each document.
        print_table(columns, rows, numeric=columns[1:], cut=("document",))


def _document_row(document: dict[str, Any]) -> tuple[str, ...]:
    outline = document["outline"]
    outputs = [artifact for artifact in document["artifacts"] if artifact["kind"] == "stage_output"]
    made = [output for output in outputs if not output["reused"]]
    reused = len(outputs) - len(made)
    return (
        Path(document["source"]).name,
        *("" if outline[name] is None else f"{outline[name]:,}" for name in ("pages", "chunks", "facts")),
        f"{sum(output['seconds'] for output in made):.1f}" if made else "",
        ("all" if not made else f"{reused} of {len(outputs)}") if reused else "",
        str(warnings) if (warnings := _warning_count(outputs)) else "",
    )


def _warning_count(outputs: Iterable[dict[str, Any]]) -> int:
    from tasks.losses import number

    return number(warning for output in outputs for warning in output["warnings"])


def _print_files(documents: Iterable[dict[str, Any]], *, warned: bool) -> None:
    columns = ("document", "stage", "output", "size", "seconds", "reused", "warnings")
    shown = columns if warned else columns[:-1]
    rows = [row[: len(shown)] for document in documents for row in _file_rows(document)]
    print_table(
        shown,
        rows,
        numeric=("size", "seconds"),
        cut=("document", "output"),
        prose=("warnings",),
        spare=("reused", "seconds"),
    )


def _file_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    name = Path(document["source"]).name
    rows = [
        (
            name,
            f"{artifact['stage']} {artifact['stage_name']}",
            artifact["filename"],
            size(artifact["size"]),
            "" if artifact["reused"] else f"{artifact['seconds']:.2f}",
            "reused" if artifact["reused"] else "",
            _in_short(artifact["warnings"]),
        )
        for artifact in document["artifacts"]
        if artifact["kind"] == "stage_output"
    ]
    if document["state"] == "failed":
        rows.append((name, "failed", "", "", "", "", ""))
    return rows


def _print_warnings(documents: list[dict[str, Any]]) -> None:
    """Print what each document lacks, where the table of all documents would be too long."""
    rows = [
        (Path(document["source"]).name, lacking)
        for document in documents
        if (lacking := _in_short(warning for artifact in document["artifacts"] for warning in artifact["warnings"]))
    ]
    if not rows:
        return
    print_table(("document", "warnings"), rows[:MAX_DOCUMENTS_IN_TABLE], cut=("document",), prose=("warnings",))
    more = len(rows) - MAX_DOCUMENTS_IN_TABLE
    if more > 0:
        print_line(f"{counted(more, 'more document')} with warnings: --json has all of them")


def _in_short(warnings: Iterable[str]) -> str:
    from tasks.losses import summary

    return summary(warnings).partition(": ")[2]


def _run_page(addresses: StackAddresses, run_id: str) -> str:
    # A server that this command started is gone in a moment; `waybill up` serves the same history on its usual port.
    ours = "prefect" in addresses.started or addresses.prefect_ui_url is None
    base = "waybill up, then http://127.0.0.1:4200" if ours else addresses.prefect_ui_url
    return f"{base}/runs/flow-run/{run_id}"
