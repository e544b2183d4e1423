"""A command whose log has no reader any more goes on: the reader has exited (``2>&1 | head``), or a disk is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import CommandLine
from tests.stack_driver import PATIENCE_SECONDS


@contextmanager
def without_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@contextmanager
def on_full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


@pytest.fixture(params=[without_reader, on_full_disk])
def unwritable(request: pytest.FixtureRequest) -> Iterator[int]:
    with request.param() as descriptor:
        yield descriptor


def run(waybill: CommandLine, *arguments: object, log: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "waybill", "process", *map(str, arguments), "--json"]
    return subprocess.run(
        command, env=waybill.environment, stdout=subprocess.PIPE, stderr=log, timeout=PATIENCE_SECONDS, check=False
    )


def test_a_run_completes(on_servers: CommandLine, tmp_path: Path, unwritable: int) -> None:
    document = tmp_path / "report.txt"
    document.write_text("The boiler was inspected in May.")
    done = run(on_servers, document, "--stages", "1", log=unwritable)
    report = json.loads(done.stdout)
    assert (done.returncode, report["state"], report["counts"]["documents"]) == (0, "completed", 1)


def test_a_run_that_fails_reports_its_error_and_ends(on_servers: CommandLine, tmp_path: Path, unwritable: int) -> None:
    names_itself = tmp_path / "sources.txt"
    names_itself.write_text(f"list:{names_itself}\n")
    done = run(on_servers, "--from", names_itself, log=unwritable)
    assert done.returncode == 2
    assert "may not name another list" in json.loads(done.stdout)["error"]["message"]


def test_a_reader_of_both_streams_who_leaves_ends_the_command(on_servers: CommandLine, tmp_path: Path) -> None:
    document = tmp_path / "report.txt"
    document.write_text("The boiler was inspected in June.")
    command = [sys.executable, "-m", "waybill", "process", str(document), "--stages", "1"]
    with without_reader() as descriptor:
        done = subprocess.run(
            command,
            env=on_servers.environment,
            stdout=descriptor,
            stderr=descriptor,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    (newest,) = on_servers.json("runs", "list", "--limit", "1")["runs"]
    assert (newest["sources"], newest["status"]) == ([str(document)], "completed")
