"""The pages of a run of the retention in Prefect's UI.

Names and sources come from anywhere, so nothing of them becomes a link or markup in a browser. Prefect returns whole
tables in its lists, so a table has less than a thousand rows; the command and the API show everything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from blocks.custody.sweep_report import SweepReport
from blocks.redaction import redacted_source
from blocks.retention import REASONS, PlannedFile
from blocks.runtime.in_words import shortened
from tasks.expiry import FileWarning, Report

# Together less than a thousand, with some tens of groups.
_MAX_FAILED, _MAX_WARNINGS, _MAX_SOURCES, _MAX_KEPT, _MAX_FINDINGS = 200, 50, 250, 300, 100
_MAX_CELL_CHARS = 200

Row = dict[str, str]


def report_table(report: Report, api_url: str | None, sweep: SweepReport | None = None) -> list[Row]:
    """Return the rows: groups first, the largest at the top; then failures, warnings, sources of what went, and
    protected files.

    *api_url* is the address of the HTTP API as seen from outside; without one there are no links.
    """
    done = "would go" if report.dry_run else "went"
    groups = sorted(report.plan.groups, key=lambda group: (not group.removes, -group.files))
    rows = [
        _row(done if group.removes else "stayed", group.rule, group.kind, group.files, group.bytes) for group in groups
    ]
    rows += [_file("failed", one.file, one.error, api_url) for one in report.failed[:_MAX_FAILED] if one.file]
    rows += [_warning(one) for one in report.warnings[:_MAX_WARNINGS]]
    rows += _by_source(report.removed, done)
    protected = [one for one in report.kept if one.rule != "not_due"]
    rows += [_file("stayed", one, REASONS[one.rule], api_url) for one in protected[:_MAX_KEPT]]
    return rows + (_swept(sweep) if sweep is not None else [])


def statistics_page(report: Report, sweep: SweepReport | None = None) -> str:
    """Return a Markdown page: the outcome in words, and the statistics before and after."""
    after = "would be after" if report.dry_run else "after"
    lines = [
        f"# {outcome(report)}",
        "",
        f"| kind | files before | {after} | bytes before | {after} | oldest | newest |",
        "|---|--:|--:|--:|--:|---|---|",
        *_statistics(report.before, report.after),
        "",
        f"Plan `{report.plan.plan_id}`, digest `{report.plan.digest[:16]}`.",
    ]
    if report.lifted_by is not None:
        lines += [
            "",
            f"**{report.plan.over_cap:,} more files wait for the next run**; `{report.lifted_by}` lifts the cap.",
        ]
    if sweep is not None:
        lines += ["", "## Sweep", "", sweep_outcome(sweep)]
    return "\n".join(lines)


def outcome(report: Report) -> str:
    """Return one line: how many files went, stayed and failed."""
    number, done = report.removed_files + report.finished, "would go" if report.dry_run else "removed"
    parts = [f"{number:,} {'file' if number == 1 else 'files'} {done}", f"{report.kept_files:,} kept"]
    if report.renewed:
        parts.append(f"{report.renewed:,} kept past their time")
    if report.failed_files:
        parts.append(f"{report.failed_files:,} could not be deleted")
    if report.plan.over_cap:
        parts.append(f"{report.plan.over_cap:,} over the cap of a run")
    return ", ".join(parts)


def sweep_outcome(sweep: SweepReport) -> str:
    """Return one line: what the sweep has found and done."""
    parts = [
        f"{sweep.removed.count:,} removed that no row knows",
        f"{sweep.waiting.count:,} waiting for another look",
        f"{sweep.untouched.count:,} left alone",
        f"{sweep.missing.count:,} files without bytes",
        f"{sweep.failed.count:,} failed",
    ]
    return ", ".join(parts) + (f"; stopped: {_cell(sweep.stopped)}" if sweep.stopped else "")


def _by_source(removed: list[PlannedFile], done: str) -> list[Row]:
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in removed:
        entry = found[one.source_file, one.rule]
        entry[0] += 1
        entry[1] += one.size
    largest = sorted(found.items(), key=lambda item: -item[1][0])[:_MAX_SOURCES]
    return [
        _row(done, rule, "", files, size, what=redacted_source(source)) for (source, rule), (files, size) in largest
    ]


def _file(state: str, one: PlannedFile, why: str, api_url: str | None) -> Row:
    row = _row(state, one.rule, one.kind, 1, one.size, what=one.filename)
    link = f"[{one.file_id}]({api_url}/api/v1/files/metadata/{one.file_id})" if api_url else str(one.file_id)
    return row | {"why": _cell(why), "file": link}


def _warning(one: FileWarning) -> Row:
    row = _row("went", "", "", 1, 0)
    return row | {"why": _cell(f"no bytes could be deleted: {one.warning}"), "file": str(one.file_id)}


def _swept(sweep: SweepReport) -> list[Row]:
    found = [
        *(("failed", one) for one in sweep.failed.first),
        *(("without bytes", one) for one in sweep.missing.first),
        *(("swept", one) for one in sweep.removed.first),
        *(("left alone", one) for one in sweep.untouched.first),
    ]
    return [
        _row(state, "sweep", one.what, 1, one.bytes, what=one.path) | {"why": _cell(one.why or "no row knows it")}
        for state, one in found[:_MAX_FINDINGS]
    ]


def _row(state: str, rule: str, kind: str, files: int, size: int, *, what: str = "") -> Row:
    return {
        "state": state,
        "rule": rule,
        "why": REASONS.get(rule, ""),
        "kind": kind,
        "files": f"{files:,}",
        "bytes": f"{size:,}",
        "what": _cell(what),
        "file": "",
    }


def _statistics(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    kinds = sorted({*before["by_kind"], *after["by_kind"]})
    nothing: dict[str, Any] = {"count": 0, "bytes": 0, "oldest": None, "newest": None}
    groups = [(kind, before["by_kind"].get(kind, nothing), after["by_kind"].get(kind, nothing)) for kind in kinds]
    return [
        f"| {name} | {old['count']:,} | {new['count']:,} | {old['bytes']:,} | {new['bytes']:,} | "
        f"{_day(new['oldest'])} | {_day(new['newest'])} |"
        for name, old, new in [*groups, ("all", before["total"], after["total"])]
    ]


def _day(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else ""


def _cell(text: str) -> str:
    """Return one line of plain text."""
    line = " ".join(text.split()).replace("](", "] (").replace("<", "‹").replace("|", "¦")
    return shortened(line, _MAX_CELL_CHARS)
