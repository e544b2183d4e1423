"""Documents from elsewhere and documents made to hurt: each gives five good outputs or one clear failure.

One run of the command over all of them, watched from outside: it must end, and all its processes together must stay
within 1.5 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import stored
from tests.acceptance.conftest import CommandLine
from tests.corpus.fetch_foreign import fetch_foreign
from tests.corpus.foreign import count_by_format, find_foreign_documents
from tests.corpus.hostile import HOSTILE
from tests.corpus.hostile_case import HostileCase, Outcome
from tests.corpus.hostile_folders import hostile_folder, write_hostile_names

MAX_MEMORY_BYTES = 1_500_000_000
SAMPLE_INTERVAL_SECONDS = 0.5
# It must end; how long the worst documents take says how busy the machine is.
RUN_SECONDS = 1800
pytestmark = pytest.mark.timeout(2100)


@dataclass(frozen=True)
class Watched:
    """A finished run: its report and the most memory that its processes held together."""

    report: dict[str, Any]
    peak_memory_bytes: int

    def document(self, path: Path) -> dict[str, Any]:
        (found,) = [document for document in self.report["documents"] if document["source"] == str(path)]
        return dict(found)


def run_watched(on_servers: CommandLine, *sources: Path, stage_seconds: int) -> Watched:
    """``waybill process --json`` with a thread that adds up the memory of the command and all its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "waybill", "process", *map(str, sources), "--json"],
        env={**on_servers.environment, "WAYBILL_STAGE_TIMEOUT_SECONDS": str(stage_seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peaks = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks), daemon=True)
    watcher.start()
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS)
    finally:
        process.kill()
    watcher.join()
    assert process.returncode in (0, 1), errors[-3000:]
    return Watched(report=json.loads(output), peak_memory_bytes=peaks[0])


def _watch(pid: int, peaks: list[int]) -> None:
    try:
        command = psutil.Process(pid)
        while command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
            peaks[0] = max(peaks[0], sum(_memory(p) for p in (command, *command.children(recursive=True))))
            threading.Event().wait(SAMPLE_INTERVAL_SECONDS)
    except psutil.NoSuchProcess:
        return


def _memory(process: psutil.Process) -> int:
    """Proportional: what several processes share counts once. Elsewhere than on Linux what is theirs alone."""
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(info, "pss", 0) or info.uss)


@pytest.fixture(scope="module")
def hostile(
    on_servers: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Watched, dict[str, Path]]]:
    folder = tmp_path_factory.mktemp("hostile")
    paths: dict[str, Path] = {}
    for name, case in HOSTILE.items():
        own = folder / name  # several cases share a file name
        own.mkdir()
        paths[name] = case.write_into(own)
    # Of processor time, and of a document of 40 MB ten to forty times that. What a fresh process imports for its first
    # document counts, two seconds with OCR, and half as much again where other processes use the same caches.
    yield run_watched(on_servers, *paths.values(), stage_seconds=6), paths


def test_hostile_documents_hurt_only_themselves(
    on_servers: CommandLine, hostile: tuple[Watched, dict[str, Path]]
) -> None:
    watched, paths = hostile
    wrong = {
        name: problem
        for name, path in paths.items()
        if (problem := _problem(on_servers, HOSTILE[name], watched.document(path))) is not None
    }
    assert not wrong, json.dumps(wrong, indent=2)


def test_memory_stays_bounded(hostile: tuple[Watched, dict[str, Path]]) -> None:
    watched, _ = hostile
    print(f"peak of all processes: {watched.peak_memory_bytes / 1e6:.0f} MB")
    assert 100_000_000 < watched.peak_memory_bytes < MAX_MEMORY_BYTES


def test_real_documents_from_elsewhere_give_five_outputs_each(on_servers: CommandLine) -> None:
    fetch_foreign()
    documents = find_foreign_documents(limit_per_format=2)
    formats = count_by_format(documents)
    print(dict(formats))
    assert len(documents) >= 12
    assert len(formats) >= 8, formats
    report = run_watched(on_servers, *documents, stage_seconds=200).report
    outcomes = Counter(document["state"] for document in report["documents"])
    failures = {d["source"]: d["error"] for d in report["documents"] if d["state"] == "failed"}
    assert outcomes == {"completed": len(report["documents"])}, failures
    for document in report["documents"]:
        assert [a["stage"] for a in document["artifacts"]] == [None, 1, 2, 3, 4, 5], document


def test_any_file_name_is_carried_through(on_servers: CommandLine, tmp_path: Path) -> None:
    paths = write_hostile_names(tmp_path)
    report = on_servers.json("process", tmp_path, "--stages", "1-2")
    assert {document["error"] for document in report["documents"]} == {None}
    assert len(report["documents"]) == sum(1 for path in paths if not path.name.startswith("."))
    for document in report["documents"]:
        for artifact in document["artifacts"]:
            assert not set(artifact["filename"]) & set("/\\\n\0")


def test_a_folder_gives_its_documents_and_nothing_that_hangs(on_servers: CommandLine, tmp_path: Path) -> None:
    with hostile_folder(tmp_path) as folder:
        done = on_servers.run("process", tmp_path, "--stages", "1", "--json", expect=0 if os.geteuid() == 0 else 1)
    found = {document["source"]: document for document in json.loads(done.stdout)["documents"]}
    assert {str(path) for path in folder.documents} <= set(found)
    assert all(found[str(path)]["state"] == "completed" for path in folder.documents)
    # Loops, pipes, sockets and hidden files are no documents; what is behind a closed door is root's alone.
    closed = str(folder.folder / "closed")
    assert not {str(path) for path in folder.others if str(path) != closed} & set(found)


def _problem(on_servers: CommandLine, case: HostileCase, document: dict[str, Any]) -> str | None:
    """What is wrong with the outcome of *case*; None when it is one of those that are right."""
    if document["state"] == "failed":
        allowed = {error.__name__ for error in case.errors}
        if case.outcome is Outcome.SUCCEEDS or document["error_type"] not in allowed:
            return f"failed with {document['error_type']}: {document['error']}"
        return None if document["error"] else "failed without saying why"
    if case.outcome is Outcome.FAILS:
        return "completed, but must fail"
    stages = [artifact["stage"] for artifact in document["artifacts"]]
    if stages != [None, 1, 2, 3, 4, 5]:
        return f"completed with the outputs of {stages}"
    if case.contains is None and case.never is None:
        return None
    text = stored.output(on_servers.home, document["artifacts"][1]["file_id"]).decode()
    if case.contains is not None and case.contains not in text:
        return f"the text lacks {case.contains!r}"
    if case.never is not None and case.never in text:
        return f"the text holds {case.never!r}"
    return None
