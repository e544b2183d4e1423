"""A command whose storage, database or Prefect server does not answer names it at once, and begins nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.stack_driver import PATIENCE_SECONDS, plain_environment

FILE_ID = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"


@pytest.fixture(params=["refuses", "says nothing"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where nothing listens, or something that takes connections and leaves it at that."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "says nothing":
            server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def failed(home: Path, *arguments: str, **added: str) -> str:
    """The message of a command that must fail."""
    command = [sys.executable, "-m", "waybill", *arguments, "--json"]
    environment = {**plain_environment(), "WAYBILL_HOME": str(home), "WAYBILL_ANSWER_SECONDS": "4", **added}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 1, done.stderr
    message = json.loads(done.stdout)["error"]["message"]
    assert "Traceback" not in done.stderr and done.stderr.startswith("waybill: ")
    return message


@pytest.mark.parametrize(
    "arguments",
    [
        ("process", "DOCUMENT"),
        ("files", "put", "DOCUMENT"),
        ("files", "get", FILE_ID),
        ("files", "verify", "--all"),
        ("export", "documents", "--format", "csv"),
        ("expire",),
        ("sweep",),
    ],
    ids=" ".join,
)
def test_a_storage_that_does_not_answer_is_named(arguments: tuple[str, ...], address: str, tmp_path: Path) -> None:
    document = tmp_path / "one.md"
    document.write_text("# One\n")
    options = {"endpoint_url": f"http://{address}", "key": "a", "secret": "hidden-secret"}
    message = failed(
        tmp_path / "home",
        *(str(document) if argument == "DOCUMENT" else argument for argument in arguments),
        WAYBILL_STORAGE_URL="s3://bucket/custody",
        WAYBILL_STORAGE_OPTIONS=json.dumps(options),
    )
    assert f"the storage s3://bucket/custody at http://{address}" in message
    assert "WAYBILL_STORAGE_URL and WAYBILL_STORAGE_OPTIONS" in message
    assert "hidden-secret" not in message
    # Nothing was started for it.
    assert not (tmp_path / "home" / "postgres").exists()


@pytest.mark.parametrize("command", [("process", "DOCUMENT"), ("files", "list")], ids=" ".join)
def test_a_database_that_does_not_answer_is_named(command: tuple[str, ...], address: str, tmp_path: Path) -> None:
    document = tmp_path / "one.md"
    document.write_text("# One\n")
    message = failed(
        tmp_path / "home",
        *(str(document) if argument == "DOCUMENT" else argument for argument in command),
        WAYBILL_DATABASE_URL=f"postgresql://waybill:hidden-secret@{address}/waybill",
    )
    assert f"the database of WAYBILL_DATABASE_URL at {address}" in message
    assert "hidden-secret" not in message


def test_a_prefect_server_that_does_not_answer_is_named(address: str, tmp_path: Path) -> None:
    document = tmp_path / "one.md"
    document.write_text("# One\n")
    message = failed(tmp_path / "home", "process", str(document), PREFECT_API_URL=f"http://{address}/api")
    assert f"the Prefect server of PREFECT_API_URL (http://{address}/api) cannot be reached" in message
