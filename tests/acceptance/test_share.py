"""Links as a user makes them, and the gateway as a user runs it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS, eventually
from waybill.cli import run

pytestmark = WITH_UP

TEXT = "# Snow\n\nThe plough leaves at five.\n" * 2000
ID = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"


@pytest.fixture(scope="module")
def file_id(waybill: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file in custody."""
    path = tmp_path_factory.mktemp("shared") / "snow clearance.md"
    path.write_text(TEXT)
    return str(waybill.json("files", "put", path)["file_id"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=PATIENCE_SECONDS)


def test_a_shared_link_works_with_plain_curl(waybill: CommandLine, curl: str, file_id: str, tmp_path: Path) -> None:
    done = waybill.run("files", "share", file_id)
    (link,) = done.stdout.splitlines()
    assert link.startswith(f"{waybill.gateway}/api/v1/files/download/{file_id}?token=")
    assert "works until" in done.stderr
    subprocess.run([curl, "-fsSOJ", link], cwd=tmp_path, check=True, timeout=PATIENCE_SECONDS)
    assert (tmp_path / "snow clearance.md").read_text() == TEXT


def test_a_link_says_when_it_ends_and_is_over_then(waybill: CommandLine, file_id: str) -> None:
    before = datetime.now(UTC)
    shared = waybill.json("files", "share", file_id, "--expires", "2s")
    assert shared.keys() == {"file_id", "url", "expires_at", "direct", "capped"}
    assert (shared["file_id"], shared["direct"], shared["capped"]) == (file_id, False, False)
    ends = datetime.fromisoformat(shared["expires_at"])
    assert before < ends < before + timedelta(seconds=PATIENCE_SECONDS)
    eventually(lambda: get(shared["url"]).status_code == 410, "the link expires")
    assert code_of(get(shared["url"])) == (410, "LinkExpired")
    assert datetime.now(UTC) >= ends


def test_a_link_never_outlives_the_file_and_says_so(waybill: CommandLine, file_id: str) -> None:
    done = waybill.run("files", "share", file_id, "--expires", "30d", "--json")
    shared, file = json.loads(done.stdout), waybill.json("files", "show", file_id)
    assert shared["capped"] is True
    assert shared["expires_at"][:19] == file["expires_at"][:19]
    assert "the file expires within 30d, and the link with it" in done.stderr


def test_what_cannot_be_shared_is_told_why(waybill: CommandLine, file_id: str, tmp_path: Path) -> None:
    def refusal(*arguments: object, expect: int) -> tuple[str, str]:
        error = waybill.json("files", "share", *arguments, expect=expect)["error"]
        return error["code"], error["message"]

    assert refusal(ID, expect=1)[0] == "ArtifactNotFound"
    code, why = refusal(file_id, "--direct", expect=2)
    assert (code, "encrypted" in why) == ("InvalidOptions", True)
    path = tmp_path / "gone.md"
    path.write_text(TEXT)
    gone = waybill.json("files", "put", path)["file_id"]
    link = waybill.json("files", "share", gone)["url"]
    assert get(link).text == TEXT
    waybill.run("files", "rm", gone)
    assert code_of(get(link)) == (410, "ArtifactGone")
    assert refusal(gone, expect=1)[0] == "ArtifactGone"


@pytest.mark.parametrize(
    "arguments", [["report.pdf"], *([ID, f"--expires={text}"] for text in ("0s", "soon", "-1h", "1.5h"))]
)
def test_wrong_use_is_told_before_anything_is_started(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["files", "share", *arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "InvalidOptions"


def test_a_local_storage_signs_no_links_of_its_own(waybill: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "plain.md"
    path.write_text(TEXT)

    def plainly(*arguments: object, expect: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "waybill", *map(str, arguments), "--json"]
        environment = {**waybill.environment, "WAYBILL_ENCRYPT": "false"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert done.returncode == expect, done.stderr
        return json.loads(done.stdout)

    plain = plainly("files", "put", path, expect=0)["file_id"]
    assert "S3" in plainly("files", "share", plain, "--direct", expect=2)["error"]["message"]
    # What is stored as it is can be read without any key, also by a gateway that has one.
    assert get(plainly("files", "share", plain, expect=0)["url"]).text == TEXT


def test_a_rotation_keeps_links_and_a_revocation_ends_them(waybill: CommandLine, file_id: str) -> None:
    link = waybill.json("files", "share", file_id)["url"]
    change = waybill.json("keys", "rotate-links")
    assert change.keys() == {"key_id", "created_at", "verifying", "dropped"}
    header = link.partition("token=")[2].partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["kid"] in change["verifying"]
    assert get(link).text == TEXT
    ended = waybill.run("keys", "rotate-links", "--revoke")
    assert "no earlier link works any more" in ended.stderr
    assert code_of(get(link)) == (403, "LinkInvalid")


# The gateway ----------------------------------------------------------------------------------------------------------


@contextmanager
def running_gateway(waybill: CommandLine, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "waybill", "gateway", "--port", "0"],
            env=waybill.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        eventually(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, "it starts")
        assert process.poll() is None, log.read_text()
        yield process, log.read_text().split("listens on ")[1].split()[0]
    finally:
        process.kill()
        process.wait()


def test_a_gateway_alone_answers_until_it_is_ended(waybill: CommandLine, file_id: str, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with running_gateway(waybill, log) as (process, address):
        assert address != waybill.gateway
        assert get(f"{address}/health").json() == {"status": "ok"}
        link = waybill.json("files", "share", file_id)["url"]
        assert link.startswith(address), "links lead to the gateway that was started last"
        answer = get(link)
        assert answer.text == TEXT
        eventually(lambda: answer.headers["x-request-id"] in requests_in(log), "the request has its line")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(httpx.ConnectError):
            get(f"{address}/health")
    assert waybill.json("files", "share", file_id)["url"].startswith(waybill.gateway)
    assert "eyJ" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_taken_port_is_told_before_anything_is_started(waybill: CommandLine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("gateway", "up"):
            elsewhere = tmp_path / command
            done = subprocess.run(
                [sys.executable, "-m", "waybill", command, "--port", str(port)],
                env={**waybill.environment, "WAYBILL_HOME": str(elsewhere)},
                capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            )  # fmt: skip
            assert done.returncode == 2
            assert f"port {port} on 127.0.0.1 is taken by another program" in done.stderr
            assert not (elsewhere / "postgres").exists()


def test_the_gateway_of_up_comes_back_after_a_kill_and_nobody_is_refused_meanwhile(
    waybill: CommandLine, file_id: str
) -> None:
    link = waybill.json("files", "share", file_id)["url"]
    killed = recorded_gateway(waybill)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(killed), "it is dead, and takes no more requests")
    # The socket is the parent's: the request waits until somebody answers it.
    assert get(link).text == TEXT
    eventually(lambda: recorded_gateway(waybill) not in {None, killed}, "it has told where it is")


def recorded_gateway(waybill: CommandLine) -> int | None:
    """The process of the gateway; None while there is none."""
    try:
        return int(json.loads((waybill.home / "gateway.json").read_text())["pid"])
    except FileNotFoundError:
        return None


def test_the_log_of_the_gateway_has_a_line_of_json_for_each_request_and_no_link(
    waybill: CommandLine, file_id: str
) -> None:
    log = waybill.home / "logs" / "gateway.log"
    answer = get(waybill.json("files", "share", file_id)["url"])
    eventually(lambda: answer.headers["x-request-id"] in requests_in(log), "the request has its line")
    line = requests_in(log)[answer.headers["x-request-id"]]
    assert (line["route"], line["status"]) == ("/api/v1/files/download/{file_id}", 200)
    assert [line for line in whole_lines(log) if not line.startswith('{"time": ')] == []
    assert "eyJ" not in log.read_text()


def requests_in(log: Path) -> dict[str, dict[str, Any]]:
    """The lines about requests, by the requests' ids."""
    lines = (json.loads(line) for line in whole_lines(log) if line.startswith("{"))
    return {line["request_id"]: line for line in lines if line["message"] == "request"}


def whole_lines(log: Path) -> list[str]:
    """The lines so far, without one that is just being written."""
    return log.read_text().rpartition("\n")[0].splitlines()
