"""The commands, as a user types them."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS, eventually, prefect_login

pytestmark = WITH_UP

SAMPLES = Path("samples")
CHOSEN = ("rack-bar-wear.eml", "snow-clearance-handbook.md", "lauigraben-viaduct-report.docx")
OUTPUT_SUFFIXES = {1: ".md", 2: ".opt.md", 3: ".chunks.json", 4: ".facts.json", 5: ".ingestion.json"}


@pytest.fixture(scope="module")
def processed(waybill: CommandLine) -> dict[str, Any]:
    """The report of a run over three samples."""
    return waybill.json("process", *(SAMPLES / name for name in CHOSEN))


def artifact_of(report: dict[str, Any], document: str, stage: int) -> dict[str, Any]:
    (found,) = [
        artifact
        for entry in report["documents"]
        if entry["source"].endswith(document)
        for artifact in entry["artifacts"]
        if artifact["stage"] == stage
    ]
    return dict(found)


def test_process_gives_five_outputs_a_document(processed: dict[str, Any]) -> None:
    assert processed["state"] == "completed"
    assert len(processed["documents"]) == len(CHOSEN)
    for document in processed["documents"]:
        assert document["state"] == "completed"
        assert document["error"] is None
        assert Path(document["source"]).is_absolute()
        upload, *outputs = document["artifacts"]
        assert upload["kind"] == "upload"
        assert upload["sha256"] == document["sha256"]
        stem = Path(document["source"]).stem
        assert {a["stage"]: a["filename"] for a in outputs} == {n: stem + s for n, s in OUTPUT_SUFFIXES.items()}
        for artifact in outputs:
            assert artifact["kind"] == "stage_output"
            assert artifact["size"] > 0
            assert len(artifact["sha256"]) == 64
            created, expires = (datetime.fromisoformat(artifact[k]) for k in ("created_at", "expires_at"))
            assert 29 <= (expires - created).days <= 30


def test_a_second_run_reuses_everything(waybill: CommandLine, processed: dict[str, Any]) -> None:
    again = waybill.json("process", *(SAMPLES / name for name in CHOSEN))
    assert all(a["reused"] for document in again["documents"] for a in document["artifacts"])
    ids = [a["file_id"] for document in processed["documents"] for a in document["artifacts"]]
    assert [a["file_id"] for document in again["documents"] for a in document["artifacts"]] == ids


def test_changed_options_run_again_from_their_stage_on(
    waybill: CommandLine, processed: dict[str, Any], tmp_path: Path
) -> None:
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"chunker": {"max_tokens": 120}}))
    report = waybill.json("process", SAMPLES / CHOSEN[0], "--options", options)
    reused = {a["stage"]: a["reused"] for a in report["documents"][0]["artifacts"]}
    assert reused == {None: True, 1: True, 2: True, 3: False, 4: False, 5: False}
    # The first options again: their chunks are reused, but the index holds the others by now and is written anew.
    back = waybill.json("process", SAMPLES / CHOSEN[0])
    reused = {a["stage"]: a["reused"] for a in back["documents"][0]["artifacts"]}
    assert reused == {None: True, 1: True, 2: True, 3: True, 4: True, 5: False}
    assert processed["state"] == "completed"


def test_sources_come_from_a_file_and_from_standard_input(waybill: CommandLine, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("listed.md", "# typed.md", "given.md")]
    for path in paths:
        path.write_text(f"# {path.stem}\n\nSome words of {path.stem}.\n")
    letters = tmp_path / "letters.txt"
    letters.write_text(f"# of May\n{paths[0]}\n")
    line = json.dumps({"source": str(paths[1])})
    ran = waybill.run(
        "process", paths[2], "--from", letters, "--from", "-", "--stages", "1", "--json", given=f"{line}\n"
    )
    report = json.loads(ran.stdout)
    assert [document["source"] for document in report["documents"]] == [str(paths[2]), str(paths[0]), str(paths[1])]
    assert report["counts"] == {
        "documents": 3, "failed": 0, "files_made": 6, "files_reused": 0, "left_out": 0, "failed_left_out": 0,
    }  # fmt: skip
    refused = waybill.json("process", "--from", tmp_path / "none.txt", expect=2)["error"]
    assert refused["code"] == "SourceNotFound"
    waybill.run("process", expect=2)


def test_stages_can_be_chosen_and_missing_ones_are_told(waybill: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "short.md"
    path.write_text("# A heading\n\nSome words about the chosen stages.\n")
    report = waybill.json("process", path, "--stages", "1-2")
    assert [a["stage"] for a in report["documents"][0]["artifacts"]] == [None, 1, 2]
    refused = waybill.json("process", path, "--stages", "5", expect=2)["error"]
    assert refused["code"] == "InvalidOptions" and "such as 1-5" in refused["message"]
    without_optimizer = waybill.json("process", path, "--stages", "1,3-5")
    assert [a["stage"] for a in without_optimizer["documents"][0]["artifacts"]] == [None, 1, 3, 4, 5]


def test_the_table_for_people_has_a_line_for_each_document_and_says_what_to_do_next(
    waybill: CommandLine, processed: dict[str, Any]
) -> None:
    text = waybill.run("process", SAMPLES / CHOSEN[0]).stdout
    outline = next(one["outline"] for one in processed["documents"] if one["source"].endswith("rack-bar-wear.eml"))
    head, line, blank, *sums = text.splitlines()
    assert head.split() == ["document", "pages", "chunks", "facts", "seconds", "reused", "warnings"]
    assert line.split() == ["rack-bar-wear.eml", str(outline["chunks"]), str(outline["facts"]), "all"]
    assert blank == ""
    assert sums[0].startswith("1 of 1 document completed in ")
    assert "waybill search" in sums[2]


def test_every_output_is_listed_on_request(waybill: CommandLine, processed: dict[str, Any]) -> None:
    text = waybill.run("process", SAMPLES / CHOSEN[0], "--files").stdout
    assert "3 chunker" in text
    assert "rack-bar-wear.chunks.json" in text
    assert processed["state"] == "completed"


def test_the_table_names_what_could_not_be_carried_over(waybill: CommandLine, directory: Path) -> None:
    path = directory / "damaged.txt"
    path.write_bytes(b"\xff \xff " + ("Grüße aus Zürich. " * 20).encode())
    lost = "2 byte sequences replaced that are not valid UTF-8"
    text = waybill.run("process", path, "--stages", "1-2", "--files").stdout
    head, first, second = text.splitlines()[:3]
    assert head.split()[-1] == "warnings"
    assert first.endswith(f"  {lost}")
    assert second.split()[-1] != "UTF-8"
    assert f"\n2 warnings: {lost}\n" in text
    # Reused, it is shown again; a run without warnings has no column for them.
    assert f"\n2 warnings: {lost}\n" in waybill.run("process", path, "--stages", "1-2").stdout
    assert "warnings" not in waybill.run("process", SAMPLES / CHOSEN[1], "--stages", "1", "--files").stdout
    report = waybill.json("process", path, "--stages", "1")
    shown = waybill.json("files", "show", artifact_of(report, path.name, 1)["file_id"])
    assert shown["metadata"]["warnings"] == shown["report"]["warnings"] == [lost]


def test_search_answers_with_source_heading_and_score(waybill: CommandLine, processed: dict[str, Any]) -> None:
    found = waybill.json("search", "how much did the rack bar wear in section C", "-k", "3")
    assert 1 <= len(found["results"]) <= 3
    first = found["results"][0]
    assert first["source"].endswith("rack-bar-wear.eml")
    assert "4.7 mm" in " ".join(result["text"] for result in found["results"])
    assert first["score"] > 0
    assert isinstance(first["heading_path"], list)
    assert "rack-bar-wear" in waybill.run("search", "rack bar wear").stdout
    assert processed["state"] == "completed"


def test_files_are_listed_by_source_stage_run_and_kind(waybill: CommandLine, processed: dict[str, Any]) -> None:
    by_name = waybill.json("files", "list", "--source", CHOSEN[2])["files"]
    assert {f["stage"] for f in by_name} == {None, 1, 2, 3, 4, 5}
    assert all(f["source_file"].endswith(CHOSEN[2]) and "metadata" in f for f in by_name)
    assert by_name == waybill.json("files", "list", "--source", SAMPLES / CHOSEN[2])["files"]
    of_run = waybill.json("files", "list", "--run", processed["run_id"])["files"]
    assert len(of_run) == 18
    assert all(f["stage"] == 3 for f in waybill.json("files", "list", "--stage", "3")["files"])
    uploads = waybill.json("files", "list", "--kind", "upload")["files"]
    assert {f["kind"] for f in uploads} == {"upload"}


def test_lists_are_paged_without_gaps(waybill: CommandLine, processed: dict[str, Any]) -> None:
    seen: list[str] = []
    page = waybill.json("files", "list", "--run", processed["run_id"], "--limit", "7")
    while True:
        seen += [f["file_id"] for f in page["files"]]
        if page["next"] is None:
            break
        page = waybill.json("files", "list", "--run", processed["run_id"], "--limit", "7", "--after", page["next"])
    assert len(seen) == len(set(seen)) == 18


def test_show_get_and_views(waybill: CommandLine, processed: dict[str, Any], tmp_path: Path) -> None:
    chunks = artifact_of(processed, CHOSEN[1], 3)
    shown = waybill.json("files", "show", chunks["file_id"])
    assert (shown["sha256"], shown["size"]) == (chunks["sha256"], chunks["size"])
    as_stored = Path(shown["location"]).read_bytes()
    assert (shown["stored_sha256"], shown["stored_size"]) == (sha256(as_stored).hexdigest(), len(as_stored))
    assert as_stored.startswith(b"age-encryption.org/v1\n")
    assert shown["encrypted_for"] == waybill.run("keys", "storage").stdout.strip()
    assert shown["report"]["options"]["max_tokens"] == 250

    got = waybill.json("files", "get", chunks["file_id"], "-o", tmp_path)
    assert Path(got["path"]).name == "snow-clearance-handbook.chunks.json"
    assert json.loads(Path(got["path"]).read_text())["chunks"]
    waybill.run("files", "get", chunks["file_id"], "-o", tmp_path, expect=2)  # not overwritten by accident
    waybill.run("files", "get", chunks["file_id"], "-o", tmp_path, "--force")

    for view, name in (("meta", "stage3.meta.json"), ("report", "stage3.report.json")):
        got = waybill.json("files", "get", chunks["file_id"], "--view", view, "-o", tmp_path)
        assert Path(got["path"]).name == f"snow-clearance-handbook.{name}"
        assert json.loads(Path(got["path"]).read_text())["stage_name"] == "chunker"


def test_put_verify_damage_and_rm(waybill: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("A text to be kept.\n")
    put = waybill.json("files", "put", path)
    assert put["kind"] == "upload"
    assert put["source_file"] == str(path)
    waybill.run("files", "verify", put["file_id"])

    location = Path(waybill.json("files", "show", put["file_id"])["location"])
    location.chmod(0o600)
    location.write_bytes(location.read_bytes()[:-1] + b"!")
    damaged = waybill.json("files", "verify", put["file_id"], expect=1)
    assert damaged["files"][0]["state"] == "damaged"
    target = tmp_path / "copy.txt"
    waybill.run("files", "get", put["file_id"], "-o", target, expect=1)
    assert not target.exists()

    waybill.run("files", "rm", put["file_id"])
    assert not location.exists()
    gone = waybill.json("files", "show", put["file_id"], expect=1)
    assert gone["error"]["code"] == "ArtifactGone"
    waybill.run("files", "rm", put["file_id"], expect=1)


def test_rm_finishes_a_deletion_that_was_interrupted(
    on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "half-deleted.txt"
    path.write_text("The process that deleted this was killed.\n")
    file_id = on_postgres.json("files", "put", path)["file_id"]
    blob = Path(on_postgres.json("files", "show", file_id)["location"])
    with psycopg.connect(database_url) as connection:
        connection.execute("update artifacts set state = 'deleting' where file_id = %s", [file_id])
    assert blob.exists()

    repeated = on_postgres.json("files", "rm", file_id, expect=1)
    assert "was deleted already" in repeated["files"][0]["error"]
    assert not [one for one in blob.parent.rglob("*") if one.is_file()], "blob and manifest must be gone"
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select state from artifacts where file_id = %s", [file_id]).fetchone()
    assert found == ("deleted",)


def test_sweep_removes_at_the_second_look_what_no_row_knows(
    on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("This file has a row.\n")
    file_id = on_postgres.json("files", "put", path)["file_id"]
    blob = Path(on_postgres.json("files", "show", file_id)["location"])
    orphan = blob.with_name("1" + "0" * 31)
    orphan.write_bytes(b"no row knows this")
    os.utime(orphan, (0, 0))
    assert on_postgres.json("sweep")["waiting"]["first"][0]["path"] == f"uploads/{blob.parent.name}/{orphan.name}"
    with psycopg.connect(database_url) as connection:
        connection.execute("update sweep_candidates set first_seen_at = first_seen_at - interval '1 hour'")
    assert on_postgres.json("sweep", "--dry-run")["removed"]["by_what"] == {"blob": 1}
    stopped = on_postgres.json("sweep", "--max-files", "0", expect=1)
    assert "--max-files" in stopped["stopped"] and stopped["over_cap"] == 1
    assert orphan.exists()
    said = on_postgres.run("sweep").stdout
    assert "removed: blob uploads/" in said and "1 removed (17 bytes), 0 waiting" in said
    assert not orphan.exists() and blob.exists()
    assert on_postgres.json("sweep", "--min-age", "soon", expect=2)["error"]["code"] == "InvalidOptions"


def test_expire_removes_what_its_dry_run_has_shown(on_postgres: CommandLine, database_url: str, tmp_path: Path) -> None:
    put: list[str] = []
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.txt").write_text(f"The file {name}.\n")
        put.append(on_postgres.json("files", "put", tmp_path / f"{name}.txt")["file_id"])
    with psycopg.connect(database_url) as connection:
        connection.execute("update artifacts set expires_at = now() where file_id = any(%s)", [put[:2]])
    dry = on_postgres.json("expire", "--dry-run")
    assert {one["file_id"] for one in dry["removed"]} == set(put[:2])
    assert [(one["file_id"], one["rule"]) for one in dry["kept"]] == [(put[2], "not_due")]
    assert (dry["dry_run"], dry["before"]["total"]["count"], dry["after"]["total"]["count"]) == (True, 3, 1)
    capped = on_postgres.json("expire", "--max-files", "1", expect=1)
    assert (len(capped["removed"]), capped["over_cap"], capped["lifted_by"]) == (1, 1, "--max-files 2")
    assert on_postgres.json("expire", "--explain", put[2])["kept_because"] == "not_due"
    assert on_postgres.json("expire", "--explain", capped["removed"][0]["file_id"])["removed_because"] == "expired"
    assert on_postgres.json("expire", "--explain", dry["plan_id"], expect=1)["state"] == "unknown"
    said = on_postgres.run("expire", "--plan", dry["plan_id"])
    assert "1 file removed" in said.stdout and "expired" in said.stdout
    assert [one["state"] for one in on_postgres.json("expire", "--list")["plans"]] == ["done", "done"]
    assert on_postgres.json("files", "list")["files"][0]["file_id"] == put[2]
    for wrong in (
        ["--older-than", "0"], ["--older-than", "soon"], ["--kind", "secret"], ["--keep-source", "365d"],
        ["--max-size", "large"], ["--plan", "last"], ["--plan", dry["plan_id"], "--kind", "export"],
        ["--explain", put[2], "--dry-run"],
    ):  # fmt: skip
        assert on_postgres.json("expire", *wrong, expect=2)["error"]["code"] == "InvalidOptions", wrong
    assert on_postgres.json("expire", "--plan", dry["plan_id"], expect=1)["error"]["code"] == "PlanExecuted"
    gone = on_postgres.json("expire", "--explain", dry["removed"][0]["file_id"])
    assert (gone["state"], gone["removed_because"]) == ("deleted", "expired")
    assert "gone since" in on_postgres.run("expire", "--explain", dry["removed"][0]["file_id"]).stdout
    nothing = on_postgres.json("expire", "--explain", "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a", expect=1)
    assert nothing["state"] == "unknown"


def test_a_kept_file_can_be_processed_by_its_id(waybill: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "later.md"
    path.write_text("# Later\n\nTo be processed from custody.\n")
    put = waybill.json("files", "put", path)
    path.unlink()
    report = waybill.json("process", f"waybill:{put['file_id']}", "--stages", "1-2")
    assert report["documents"][0]["artifacts"][1]["filename"] == "later.md"


def test_status_and_history_come_from_prefect(waybill: CommandLine, processed: dict[str, Any]) -> None:
    status = waybill.json("status", processed["run_id"])
    assert (status["task_id"], status["status"], status["progress"]) == (processed["run_id"], "completed", 1.0)
    history = waybill.json("status", processed["run_id"], "--history")
    of_run = [e["status"] for e in history["history"] if "state_id" in e["metadata"]]
    # The server of `waybill up` does the run: it is scheduled, and pending until a process takes it.
    assert of_run[:3] == ["completed", "running", "pending"]
    assert of_run[-1] == "scheduled"
    assert history["event_count"] == len(history["history"]) > 3
    unknown = waybill.json("status", "00000000-0000-4000-8000-000000000000", expect=1)
    assert unknown["error"]["code"] == "RunNotFound"


def test_status_warns_of_processes_that_were_started_with_other_code_than_is_installed(
    waybill: CommandLine, processed: dict[str, Any]
) -> None:
    code = waybill.json("status", processed["run_id"])["code"]
    assert code["serving"] == code["installed"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{8} with Prefect \d+\.\d+\.\d+", code["installed"])
    serving, dispatching = waybill.home / "serve.json", waybill.home / "dispatch.json"
    before = {path: path.read_text() for path in (serving, dispatching)}
    try:
        # As if files had changed since, and as an `up` of an earlier version has written it.
        serving.write_text(json.dumps({**json.loads(before[serving]), "code": "0.0.9+01234567 with Prefect 3.8.8"}))
        dispatching.write_text(json.dumps({**json.loads(before[dispatching]), "code": None}))
        done = waybill.run("status", processed["run_id"])
    finally:
        for path, text in before.items():
            path.write_text(text)
    assert "serving     0.0.9+01234567 with Prefect 3.8.8\n" in done.stdout
    assert f"installed   {code['installed']}\n" in done.stdout
    assert f"started with other code than is installed now ({code['installed']})" in done.stderr
    assert "the flow server runs 0.0.9+01234567 with Prefect 3.8.8; the dispatcher runs unknown. " in done.stderr
    assert "the gateway" not in done.stderr


def test_stats_count_files_and_what_can_be_searched(waybill: CommandLine, processed: dict[str, Any]) -> None:
    # What `up` cleans up by its schedule is being deleted for a moment.
    eventually(
        lambda: set(waybill.json("stats")["by_state"]) <= {"available", "deleted"},
        "there are no files but those that are available and deleted ones",
    )
    stats = waybill.json("stats")
    assert stats["total"]["count"] >= 18
    assert stats["by_kind"]["stage_output"]["bytes"] > 0
    assert stats["search_index"]["vectors"] == stats["search_index"]["chunks"] > 0
    assert processed["state"] == "completed"


def test_a_failing_document_gives_exit_code_1_and_its_reason(waybill: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Good\n\nA sound document.\n")
    (tmp_path / "empty.pdf").touch()
    report = waybill.json("process", tmp_path, "--stages", "1-2", expect=1)
    assert {Path(d["source"]).name: d["state"] for d in report["documents"]} == {
        "good.md": "completed",
        "empty.pdf": "failed",
    }
    assert "empty.pdf is empty" in waybill.run("process", tmp_path, "--stages", "1-2", expect=1).stderr


def test_a_source_that_no_run_may_read_is_refused_before_anything_is_started(
    alone: CommandLine, tmp_path: Path
) -> None:
    (alone.home / "storage-identity").write_text("AGE-SECRET-KEY-PQ-1")
    (tmp_path / "permitted").mkdir()
    (tmp_path / "a.md").write_text("a")
    bounded = alone.with_environment(WAYBILL_ALLOWED_SOURCES=f"{tmp_path}/permitted,https://docs.example.org")
    for command, source, words in (
        (alone, alone.home / "storage-identity", "WAYBILL_HOME"),
        (alone, f"simplecache::file://{alone.home}/storage-identity", "WAYBILL_HOME"),
        (bounded, tmp_path / "a.md", "WAYBILL_ALLOWED_SOURCES"),
        (bounded, "https://docs.example.org.evil.example/a.md", "allowed_sources"),
    ):
        error = command.json("process", source, expect=2)["error"]
        assert error["code"] == "SourceRefused" and words in error["message"]
    assert "SourceRefused" not in bounded.run("process", tmp_path / "a.md", expect=2).stderr
    assert [path.name for path in alone.home.iterdir()] == ["storage-identity"]


def test_a_run_on_the_served_deployment_gives_the_same(waybill: CommandLine, tmp_path: Path) -> None:
    """Started over Prefect's API as another program would; the deployment is served by `up`."""
    api, login = _api_address(waybill), prefect_login(waybill.home)
    path = tmp_path / "served.md"
    path.write_text("# Served\n\nA document for the deployment.\n")
    deployment = (
        httpx.get(f"{api}/deployments/name/process-documents/waybill", auth=login, timeout=PATIENCE_SECONDS)
        .raise_for_status()
        .json()
    )
    run = (
        httpx.post(
            f"{api}/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"sources": [str(path)], "stages": [1, 2]}},
            auth=login,
            timeout=PATIENCE_SECONDS,
        )
        .raise_for_status()
        .json()
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (status := waybill.json("status", run["id"]))["status"] not in {"completed", "failed", "crashed"}:
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    assert status["status"] == "completed", status
    assert len(waybill.json("files", "list", "--run", run["id"])["files"]) == 3


def _api_address(waybill: CommandLine) -> str:
    text = (waybill.home / "up.log").read_text()
    (line,) = [line for line in text.splitlines() if "Prefect API" in line]
    return line.split()[-1]


def test_runs_and_files_are_named_by_their_first_digits_and_files_by_their_names(
    waybill: CommandLine, processed: dict[str, Any], tmp_path: Path
) -> None:
    run_id = processed["run_id"]
    listed = waybill.json("runs", "list", "--state", "completed", "--limit", "200")["runs"]
    (found,) = [run for run in listed if run["task_id"] == run_id]
    assert (found["source_count"], found["documents"], found["status"]) == (len(CHOSEN), len(CHOSEN), "completed")
    assert run_id[:8] in waybill.run("runs", "list").stdout
    # Ids of runs begin with the time: those of the same minute share some digits.
    assert waybill.json("status", run_id[:18])["task_id"] == run_id
    files = waybill.json("files", "list", "--run", run_id[:18], "--limit", "1000")["files"]
    markdown = artifact_of(processed, CHOSEN[0], 1)
    assert markdown["file_id"] in {file["file_id"] for file in files}
    assert waybill.json("files", "show", markdown["file_id"][:13])["file_id"] == markdown["file_id"]
    waybill.run("files", "get", markdown["filename"], "-o", tmp_path / "by-name")
    assert sha256((tmp_path / "by-name").read_bytes()).hexdigest() == markdown["sha256"]
    over = waybill.run("runs", "cancel", run_id[:18], expect=1)
    assert "is over: it is completed" in over.stderr
    for wrong in (["status", "1234"], ["files", "show", "0b6f1c3"], ["runs", "cancel", "report.pdf"]):
        assert "not an id" in waybill.run(*wrong, expect=2 if wrong[0] != "files" else 1).stderr or wrong[0] == "files"
