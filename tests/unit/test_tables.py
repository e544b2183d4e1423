"""Tables of commands: each row in one line of a terminal of 80 columns, and whole where a program reads."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import pytest
from rich.cells import cell_len

from blocks.access import ApiKey, AuditEntry
from blocks.catalog import Artifact
from blocks.exports import ExportJob
from blocks.history import Counted
from blocks.retention import Plan, RetentionPolicy
from blocks.retention.plans import Group
from blocks.transfers import Transfer
from blocks.webhooks.endpoints import Endpoint
from blocks.webhooks.outbox import DeliveryRecord
from blocks.workers import Worker
from flows.history import Trimmed
from tasks.expiry import Report
from waybill.commands import (
    api_keys,
    audit,
    expire,
    exports,
    files,
    forget,
    process_report,
    runs,
    transfers,
    trim,
    watch,
    webhook_deliveries,
    webhooks,
    worker,
)
from waybill.commands.tables import print_table
from waybill.stack import StackAddresses

Made = TypeVar("Made")

WIDTH = 80
WHEN = datetime(2026, 11, 30, 6, 53, 37, tzinfo=UTC)
TIME = WHEN.isoformat()
ONE, OTHER = UUID("0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"), UUID("cf3f551e-da02-4dff-94ee-d7d77957bbe0")
NAME = "雪かき作業手順書_二〇二六年度版_最終改訂稿_峠の区間を含む.md"
SOURCE = f"/srv/archive/Operations and maintenance/2026/winter/{NAME}"
URL = "https://hooks.example.org/tenants/lauigraben/waybill/receive/0123456789abcdef0123456789abcdef"
ERROR = f"'{NAME}' has a type that no converter reads (unknown binary data). Supported: PDF, Word, PowerPoint, Excel"
LABELS = tuple(f"pool-{number:02}" for number in range(12))
RECIPIENT = "age1gjmuzarsh8w4gjxn63recqjqgq6wkznw0mg2ksuuk8vhj2rky3gqktr8fm"


def made(kind: type[Made], /, **given: Any) -> Made:
    """Return an instance with what is *given*; other fields without a default are None."""
    required = [one for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]  # pyright: ignore[reportArgumentType]
    return kind(**{**{one.name: None for one in required}, **given})


@dataclass(frozen=True)
class Shown:
    """A table: its command, what that reads, the columns in a narrow terminal, and what a program gets of its rows."""

    name: str
    show: Callable[[], object]
    module: Any
    read: Any
    columns: str
    whole: Sequence[str]
    rows: int = 2


def page(**lists: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(next=None, **lists)


def artifact(file_id: UUID, **more: Any) -> Artifact:
    known = {"kind": "stage_output", "filename": NAME, "source_file": SOURCE, "stage": 2, "size": 999, "report": {}}
    times = {"created_at": WHEN, "expires_at": WHEN}
    return made(Artifact, file_id=file_id, stage_name="markdown-optimizer", **known, **times, **more)


def run(run_id: UUID, name: str) -> dict[str, Any]:
    known = {"task_id": str(run_id), "started_at": TIME, "due_at": TIME, "status": "completed", "progress": 1.0}
    # The upload shares the run, and has a row of its own.
    upload = {"task_id": str(OTHER), "status": "completed", "name": name}
    return {**known, "documents": 1200, "seconds": 3600.5, "name": name, "uploads": [upload]}


def event(run_id: UUID, what: str) -> dict[str, Any]:
    known = {"timestamp": TIME, "event_type": what, "progress": 0.25, "task_id": str(run_id), "source_file": SOURCE}
    return {**known, "status": "running", "metadata": {}, "message": ERROR}


def delivery(delivery_id: UUID, error: str | None = None) -> DeliveryRecord:
    known = {"event_type": "stage_chain_completed", "event_id": "evt_1", "url": URL, "state": "delivered"}
    last = {"last_status": 503, "last_milliseconds": 20000.4, "last_error": error}
    return made(DeliveryRecord, delivery_id=delivery_id, created_at=WHEN, attempts=12, **known, **last)


def endpoint(endpoint_id: UUID, **more: Any) -> Endpoint:
    known = {"origin": "registered", "url": URL, "event_types": ["task_completed", "task_failed", "task_crashed"]}
    return made(Endpoint, endpoint_id=endpoint_id, pending=10_000, dead=123, **{**known, **more})


def key(key_id: str, name: str) -> ApiKey:
    times = {"created_at": WHEN, "expires_at": WHEN, "last_used_at": WHEN}
    return made(ApiKey, key_id=key_id, name=name, scopes=("read", "write"), requests_per_minute=600, usable=1, **times)


def entry(actor: str, **more: Any) -> AuditEntry:
    detail = {"direction": "download", "recipient": RECIPIENT, "filename": NAME}
    return AuditEntry(recorded_at=WHEN, actor=actor, client="2001:db8::8a2e:370:7334", detail=detail, **more)


def job(job_id: str) -> ExportJob:
    known = {"export_type": "deliveries", "format": "parquet", "compression": "gzip", "state": "completed"}
    name = f"deliveries_{job_id}_20261130_065337.parquet"
    return made(ExportJob, job_id=job_id, rows=1_000_000, size=10**9, filename=name, created_at=WHEN, **known)


def transfer(transfer_id: str) -> Transfer:
    known = {"direction": "download", "state": "in_progress", "filename": NAME, "recipient": RECIPIENT}
    times = {"created_at": WHEN, "expires_at": WHEN}
    return made(Transfer, transfer_id=transfer_id, done_bytes=999, size=999_900, **known, **times)


def remote(name: str, labels: tuple[str, ...]) -> Worker:
    known = {"address": "2001:db8::8a2e:370:7334", "last_seen_at": WHEN, "version": "0.1.0+e3e83ef1"}
    return made(Worker, name=name, labels=labels, running=16, **known)


def plan(plan_id: UUID) -> Plan:
    groups = (Group(rule="older_than", kind="stage_output", files=1_000_000, bytes=10**9), *[
        Group(rule="pinned", kind="upload", files=1, bytes=1)
    ])  # fmt: skip
    counts = {
        "files": 1_000_000,
        "bytes": 10**12,
        "over_cap": 1_000_000,
        "renewals": 0,
        "groups": groups,
        "policy": RetentionPolicy.model_validate({}),
        "statistics": {},
    }
    return made(Plan, plan_id=plan_id, state="abandoned", created_at=WHEN, **counts)


def place(watch_id: str) -> dict[str, Any]:
    counts = {"files": 100_000, "waiting": 1000, "failed": 1000}
    return {"watch_id": watch_id, "every": "90m", "active": True, "looked_at": TIME, "source": SOURCE, **counts} | {
        "problem": None
    }


def attempt(answer: str) -> dict[str, Any]:
    known = {"started_at": TIME, "status": 503, "milliseconds": 19999.9, "peer": "[2001:db8::8a2e:370:7334]:443"}
    return {**known, "error": "the receiver answered 503", "answer": answer}


def to_forget(file_id: UUID) -> dict[str, Any]:
    return {"file_id": str(file_id), "filename": NAME, "kind": "stage_output", "size": 999, "held": True}


def document(name: str) -> dict[str, Any]:
    output = {"kind": "stage_output", "stage": 1, "stage_name": "markdown-conversion", "filename": f"{NAME}.md"}
    outputs = [{**output, "size": 999, "seconds": 1.5, "reused": reused, "warnings": [ERROR]} for reused in (0, 1)]
    outline = {"pages": 1200, "chunks": 12_000, "facts": 12_000}
    return {"source": f"/in/{name}", "state": "completed", "error": None, "outline": outline, "artifacts": outputs}


def report(*, with_files: bool) -> None:
    counts = {"documents": 2, "failed": 0, "files_made": 2, "files_reused": 2, "left_out": 0, "failed_left_out": 0}
    found = {"run_id": "r", "seconds": 1.0, "documents": [document(NAME)] * 2, "warning_summary": "some"}
    found |= {"counts": counts, "rest": None}
    addresses = StackAddresses("postgresql://", None, None, Path("home"), ())
    process_report.print_report(found, addresses, total_seconds=1.0, with_files=with_files)


GROUP = {"count": 1_000_000, "bytes": 10**9, "oldest": TIME, "newest": TIME}
STATISTICS = {
    "total": GROUP,
    "by_kind": {"stage_output": GROUP},
    "by_stage": {},
    "search_index": dict.fromkeys(("documents", "chunks", "vectors", "facts", "entities", "keywords", "size_bytes"), 1),
    "retention": {"expired": 0, "expiring_within_a_day": 0, "pinned": 0, "held": 0, "next": None},
}
FORESEEN = {"sha256": "a", "sources": [], "made_from_it": [], "index": {}, "runs": [], "refused": None}
KEPT = Counted(removed=Counter(runs=1), kept={"webhook_events": Counter(not_read=1_000_000)})
CHANGES = [{"timestamp": TIME, "status": "completed", "progress": 0.5, "message": f"{ERROR} {end}"} for end in (1, 2)]
HELD = {"state": "enabled", "held_until": WHEN, "held_because": "24 deliveries failed in a row; the last: HTTP 503"}
DISABLED = {"state": "disabled", "disabled_because": "the receiver answered 410: it is gone", "event_types": None}
IDS = (str(ONE), str(OTHER))
HISTORY = SimpleNamespace(record=made(DeliveryRecord), attempts=[attempt(ERROR), attempt("")])

TABLES = [
    Shown("files", files.list_files, files, page(artifacts=[artifact(ONE), artifact(OTHER, stage_key="k")]),
          "id name stage size", (*IDS, NAME, SOURCE)),
    Shown("runs", runs.list_runs, runs, {"runs": [run(ONE, SOURCE)], "next": None},
          "run began state seconds name", (*IDS, SOURCE, "1,200")),
    Shown("events", runs.events, runs, {"events": [event(ONE, "stage_chain_completed"), event(OTHER, "task_progress")],
                                        "truncated": False}, "time what run source", (*IDS, SOURCE, ERROR, "25%")),
    Shown("deliveries", webhook_deliveries.deliveries, webhook_deliveries,
          page(deliveries=[delivery(ONE, ERROR), delivery(OTHER)]), "delivery event url state error",
          (*IDS, URL, ERROR, "20000", "503")),
    Shown("deliveries to one", lambda: webhook_deliveries.deliveries(endpoint=str(ONE)), webhook_deliveries,
          page(deliveries=[delivery(ONE, ERROR), delivery(OTHER)]), "delivery event state error",
          (*IDS, URL, ERROR, "20000", "503")),
    Shown("attempts", lambda: webhook_deliveries.deliveries(str(ONE)), webhook_deliveries, HISTORY,
          "started status error answer", ("[2001:db8::8a2e:370:7334]:443", ERROR, "the receiver answered 503")),
    Shown("endpoints", webhooks.list_, webhooks, [endpoint(ONE, **HELD), endpoint(OTHER, **DISABLED)],
          "endpoint url state waiting dead", (*IDS, URL, "task_completed, task_failed, task_crashed", "HTTP 503")),
    Shown("keys", api_keys.list_, api_keys, [key("933a9381b8d6", "import of everything"), key("5e7695b4ad49", "a")],
          "key name scopes last used state", ("import of everything", "600")),
    Shown("audit", audit.audit, audit, page(entries=[
        entry("worker:lauigraben-weather-station-gpu-1", action="transfer_prepared", file_id=ONE),
        entry("key:933a9381b8d6", action="download", file_id=OTHER),
    ]), "time who did file", (*IDS, RECIPIENT, NAME, "worker:lauigraben-weather-station-gpu-1")),
    Shown("exports", exports.list_exports, exports,
          page(jobs=[job("exp_df5f825a4e1c97d8"), job("exp_1071912802e2821c")]),
          "job type format state rows size", ("deliveries_exp_df5f825a4e1c97d8_20261130_065337.parquet", "1.0 GB")),
    Shown("transfers", transfers.list_, transfers, page(transfers=[transfer("trf_ba9c49db4985afa0")] * 2),
          "transfer direction state file size", (NAME, RECIPIENT, "999 bytes")),
    Shown("workers", worker.list_, worker, [remote("lauigraben-weather-station-gpu-1", LABELS), remote("gpu-1", ())],
          "worker last seen running state", ("lauigraben-weather-station-gpu-1", ", ".join(LABELS), "0.1.0+e3e83ef1")),
    Shown("watches", lambda: watch.watch(["list"]), watch, {"watches": [place("wat_6e155902132b10bf")] * 2},
          "watch every files waiting failed place", (SOURCE,)),
    Shown("plans", lambda: expire.expire(list_plans=True), expire, [plan(ONE), plan(OTHER)],
          "plan state made files bytes over cap", IDS),
    Shown("expire", expire.expire, expire, (Report(plan=plan(ONE), dry_run=True, before={}), [], []),
          "what kind files bytes why", ("older_than", "it is pinned; 'waybill files unpin' lets it expire")),
    Shown("stats", files.stats, files, STATISTICS, "what files bytes newest", ("stage_output",)),
    Shown("forget", lambda: forget.forget("a.md", dry_run=True), forget,
          [{**FORESEEN, "files": [to_forget(ONE), to_forget(OTHER)]}], "file name kind size kept by", (*IDS, NAME)),
    Shown("trim", trim.trim, trim, Trimmed(dry_run=True, history=timedelta(1), audit=timedelta(1), counted=KEPT),
          "what outcome count why", ("its end is not recorded yet: 'waybill up' or reconcile-events does that",)),
    Shown("history", lambda: runs.status(str(ONE), history=True), runs, {"history": CHANGES},
          "time status progress message", (f"{ERROR} 1", f"{ERROR} 2")),
    Shown("documents", lambda: report(with_files=False), process_report, None,
          "document pages chunks facts seconds reused warnings", (NAME,)),
    Shown("outputs", lambda: report(with_files=True), process_report, None,
          "document stage output size warnings", (NAME, f"{NAME}.md", "reused"), rows=4),
]  # fmt: skip


def lines(shown: Shown, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of a table, from its head on."""
    shown.show()
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    head = next(place for place, line in enumerate(printed) if line.startswith(f"{shown.columns.split()[0]} "))
    return [line.rstrip() for line in printed[head:]]


@pytest.fixture(params=TABLES, ids=lambda shown: shown.name.replace(" ", "-"))
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """A table whose command reads nothing but what is known here."""
    table: Shown = request.param
    for name in ("with_catalog", "with_custody", "with_prefect", "with_transaction"):
        monkeypatch.setattr(table.module, name, lambda *_, **__: table.read, raising=False)
    stack = SimpleNamespace(prefect_api_url=None, home=Path("home"))
    for module, reading in ((runs, "_read_run"), (trim, "_trim")):
        monkeypatch.setattr(module, "stack_session", lambda **_: nullcontext((None, stack)))
        monkeypatch.setattr(module, reading, lambda *_, **__: answered(table.read))
    monkeypatch.setattr(runs, "_compare_code", lambda _: {})
    # A zone whose name is as long as one gets: +0545.
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield table
    monkeypatch.undo()
    time.tzset()


def test_each_row_of_a_narrow_terminal_is_one_line(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    head, *rows = lines(shown, capsys)[: 1 + shown.rows]
    assert head.split() == shown.columns.split()
    assert [row for row in (head, *rows) if cell_len(row) > WIDTH] == []
    # What follows a folded cell is empty: the first column of each row tells that it is a row.
    assert [row for row in rows if not row or row.startswith(" ")] == []
    if str(ONE) in shown.whole and head.split()[0] in {"id", "run", "delivery", "endpoint", "plan", "file"}:
        assert [row.split()[0] for row in rows] == [str(ONE)[:8], str(OTHER)[:8]]


def test_nothing_is_lost_in_a_pipe(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    table = lines(shown, capsys)[: 1 + shown.rows]
    assert [value for value in shown.whole if not any(value in line for line in table)] == []
    assert all("…" not in line for line in table)


def test_a_wide_terminal_shows_everything(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "1000")
    wide = lines(shown, capsys)[: 1 + shown.rows]
    assert [value for value in shown.whole if not any(value in line for line in wide)] == []


def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, *rows: tuple[str, ...], **how: Any
) -> list[str]:
    """Return the lines of a table in a terminal of *width* columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(tuple("abcd"[: len(rows[0])]), rows, **how)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("https://example.org/receive/01234567", "https://exa…01234567"),
        ("/srv/archive/winter/report.final.pdf", "…er/report.final.pdf"),
        ("報告書報告書報告書報告書報告書.md", "報告書報告…報告書.md"),
        ("short.md", "short.md"),
    ],
)
def test_a_name_loses_its_middle_and_a_path_its_beginning(
    text: str, cut: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = terminal(monkeypatch, capsys, 30, (text, "12345678"), cut=("a",))
    assert shown[1].split("  ")[0] == cut and cell_len(cut) <= 20


def test_a_sentence_ends_with_a_whole_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    long_word = "x" * 50
    shown = terminal(monkeypatch, capsys, 30, ("cannot connect to 127.0.0.1:9", "1"), (long_word, "2"), prose=("a",))
    assert shown[1:] == ["cannot connect to…           1", f"{'x' * 26}…  2"]


def test_short_ids_tell_the_rows_apart_and_those_with_a_time_have_it_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = str(ONE).replace("-7d52-", "-7d53-")
    assert terminal(monkeypatch, capsys, 20, (str(ONE),), (alike,))[1:] == ["0b6f1c3e-7d52", "0b6f1c3e-7d53"]
    assert terminal(monkeypatch, capsys, 20, (str(ONE),), (str(ONE),), ("",))[1:3] == ["0b6f1c3e"] * 2
    assert terminal(monkeypatch, capsys, 20, ("01a22cbf-2428-71ac-8944-421727a3162d",))[1:] == ["01a22cbf-2428"]


def test_a_column_without_anything_is_the_first_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("first", "", "third" * 3, "fourth")] * 2
    assert terminal(monkeypatch, capsys, 30, *rows, spare=("d",))[0].split() == ["a", "c", "d"]
    assert terminal(monkeypatch, capsys, 25, *rows, spare=("d",))[0].split() == ["a", "c"]


def test_what_a_column_does_not_need_the_wider_ones_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = terminal(monkeypatch, capsys, 50, ("n" * 60, "s" * 12, "m" * 40), cut=("a", "b", "c"))
    assert [len(cell) for cell in shown[1].split()] == [17, 12, 17]


async def answered(value: object) -> object:
    return value
