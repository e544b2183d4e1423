"""Copies out of custody and what is printed, where the target is odd, full, closed or gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from blocks.age import X25519Identity
from tests.acceptance.conftest import CommandLine
from tests.peak_memory import peak_bytes
from tests.stack_driver import PATIENCE_SECONDS

MIB = 1024 * 1024
LINE = b"Snow is cleared from the roads of the town by the depot's four vehicles.\n"


def put(waybill: CommandLine, folder: Path, *, mebibytes: int = 1) -> dict[str, Any]:
    path = folder / "letter.txt"
    with path.open("wb") as stream:
        for _ in range(mebibytes):
            stream.write(LINE * (MIB // len(LINE)))
    return waybill.json("files", "put", path)


def process(waybill: CommandLine, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "waybill", *map(str, arguments)]
    return subprocess.Popen(command, env=waybill.environment, stderr=subprocess.PIPE, **options)


def test_only_files_are_replaced_by_force_too(on_postgres: CommandLine, tmp_path: Path) -> None:
    file_id = put(on_postgres, tmp_path)["file_id"]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in ("pipe", "link"):
        answer = on_postgres.json("files", "get", file_id, "-o", tmp_path / target, "--force", expect=2)
        assert "not a regular file" in answer["error"]["message"]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("get", "ID", "-o", "x" * 300), 1),
        (("get", "ID", "-o", "no/such/folder"), 1),
        (("get", "ID", "-o", "~no-such-account/x"), 2),
        (("put", "~no-such-account/x"), 2),
        (("put", "."), 2),
        (("list", "--source", "~no-such-account/x"), 2),
    ],
)
def test_paths_that_cannot_be_are_told(
    on_postgres: CommandLine, tmp_path: Path, arguments: tuple[str, ...], exit_code: int
) -> None:
    file_id = put(on_postgres, tmp_path)["file_id"] if "ID" in arguments else ""
    told = on_postgres.run("files", *(file_id if word == "ID" else word for word in arguments), expect=exit_code)
    assert told.stderr.startswith("waybill: ") or "waybill: " in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr


def test_what_goes_to_standard_output_takes_no_memory(on_postgres: CommandLine, tmp_path: Path) -> None:
    def peak(mebibytes: int) -> int:
        one = put(on_postgres, tmp_path, mebibytes=mebibytes)
        command = [sys.executable, "-m", "waybill", "files", "get", one["file_id"], "-o", "-"]
        found, sha256 = peak_bytes(command, on_postgres.environment)
        assert sha256 == one["sha256"]
        return found

    small = peak(1)
    assert peak(32) < small + 20 * MIB


def test_damage_is_told_on_standard_output_before_the_last_piece(on_postgres: CommandLine, tmp_path: Path) -> None:
    one = put(on_postgres, tmp_path, mebibytes=3)
    stored = Path(on_postgres.json("files", "show", one["file_id"])["location"])
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(content)
    running = process(on_postgres, "files", "get", one["file_id"], "-o", "-", stdout=subprocess.PIPE)
    out, err = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 1
    assert b"have changed" in err
    assert len(out) < one["size"]


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("show", "unknown", "--json")], ids=" ".join)
def test_output_that_cannot_be_written_is_told(on_postgres: CommandLine, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        running = process(on_postgres, "files", *arguments, stdout=full)
        err = running.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    assert running.returncode in {1, 2}
    assert "Traceback" not in err
    assert "waybill: " in err

    running = process(on_postgres, "files", *arguments, preexec_fn=lambda: os.close(1))
    err = running.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    assert running.returncode in {1, 2}
    assert "Traceback" not in err
    assert "waybill: " in err


def test_a_reader_who_leaves_ends_a_list_without_a_word(on_postgres: CommandLine) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    running = process(on_postgres, "files", "list", stdout=writer)
    os.close(writer)
    err = running.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    assert running.returncode == 1
    assert [line for line in err.splitlines() if "storage key" not in line] == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_says_so_and_leaves_nothing(alone: CommandLine, end: signal.Signals) -> None:
    target = alone.home / "sealed.age"
    recipient = X25519Identity.generate().recipient.text
    running = process(alone, "age", "encrypt", "-r", recipient, "-o", target, stdin=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(alone.home.iterdir()):  # until it writes
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(end)
    err = running.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    assert running.returncode == 130
    assert err.startswith("waybill: interrupted")
    assert list(alone.home.iterdir()) == []
