"""A command that is asked to end while its storage does not answer."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from blocks.keys import load_storage_keys
from blocks.settings import Settings
from tests.stack_driver import PATIENCE_SECONDS, eventually, plain_environment

# The command, with a patience beyond that of the test: what does not end it early never comes to its end.
PATIENT = """
from blocks.storage.s3.connection import RetryLimits
from waybill.cli import main

hours = {"stall_seconds": 36000.0, "completion_stall_seconds": 36000.0, "retry_seconds": 36000.0}
RetryLimits.__init__.__kwdefaults__.update(hours)
main()
"""


@pytest.fixture(params=["refuses", "says nothing"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an S3 server that answers one request, and then is gone, or takes connections and nothing else.

    A command whose storage does not answer from the start begins nothing.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answering = Thread(target=answer_once, args=(server, request.param == "refuses"), daemon=True)
        answering.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def answer_once(server: socket.socket, then_close: bool) -> None:
    """Say that there is no such object; connections without a request are looks whether the server is there."""
    missing = b"<Error><Code>NoSuchKey</Code><Message>there is none</Message></Error>"
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    while True:
        connection, _ = server.accept()
        with connection:
            if connection.recv(65536):
                connection.sendall(head % len(missing) + missing)
                break
    if then_close:
        server.close()


@pytest.mark.parametrize(("number", "mib"), [(signal.SIGTERM, 40), (signal.SIGINT, 1)], ids=["in parts", "at once"])
def test_it_ends_within_seconds_and_nothing_is_readable(
    endpoint: str, number: signal.Signals, mib: int, database_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "large.bin"
    source.write_bytes(b"# Text\n" * (mib * 2**20 // 7))
    options = {"key": "a", "secret": "b", "endpoint_url": endpoint, "client_kwargs": {"region_name": "us-east-1"}}
    environment = {
        **plain_environment(),
        "WAYBILL_HOME": str(tmp_path / "home"),
        "WAYBILL_DATABASE_URL": database_url,
        "WAYBILL_STORAGE_URL": "s3://bucket/custody",
        "WAYBILL_STORAGE_OPTIONS": json.dumps(options),
    }
    # Without a key, the storage would first be searched for files that need one.
    load_storage_keys(Settings(home=tmp_path / "home"))
    command = [sys.executable, "-c", PATIENT, "files", "put", str(source), "--json"]
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as putting,
    ):
        eventually(lambda: states(connection) == ["pending"] or putting.poll() is not None, "it has begun")
        time.sleep(1)  # into the attempts
        putting.send_signal(number)
        out, err = putting.communicate(timeout=PATIENCE_SECONDS)
        assert putting.returncode == 130, err.decode()
        assert "interrupted" in json.loads(out)["error"]["message"]
        assert "available" not in states(connection)


def states(connection: psycopg.Connection[tuple[str]]) -> list[str]:
    return [state for (state,) in connection.execute("select state from artifacts").fetchall()]
