"""API keys, pins, the audit log and ``waybill.toml`` as a user has them: commands, and HTTP beside them."""

from __future__ import annotations

import getpass
import json
import stat
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS
from waybill.cli import run

pytestmark = WITH_UP

ME = f"cli:{getpass.getuser()}"
ID = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"


def ask(waybill: CommandLine, key: str, path: str = "/files/list?limit=1", method: str = "GET") -> httpx.Response:
    url = f"{waybill.gateway}/api/v1{path}"
    return httpx.request(method, url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_SECONDS)


def put(waybill: CommandLine, folder: Path, name: str = "snow.md") -> dict[str, Any]:
    path = folder / name
    path.write_text("# Snow\n")
    return waybill.json("files", "put", path)


def test_up_makes_a_key_that_may_do_everything_and_names_its_file_only(waybill: CommandLine) -> None:
    path = waybill.home / "api-key"
    key = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ask(waybill, key, "/audit").status_code == 200
    shown = (waybill.home / "up.log").read_text()
    assert str(path) in shown and key.split("_")[2] not in shown
    for log in (waybill.home / "logs").iterdir():
        assert key not in log.read_text(errors="replace")
    # A second one says where the first one is, and makes nothing.
    second = waybill.run("up", "--port", "1").stderr
    process = int((waybill.home / "up.lock").read_text())
    assert f"already up in {waybill.home} (process {process})\n" in second
    assert f"  not used      --port 1: to change that, stop process {process} and start again\n" in second
    assert "waybill" in " ".join(psutil.Process(process).cmdline())
    assert f"  gateway       {(waybill.home / 'gateway-url').read_text().strip()}\n" in second
    assert path.read_text().strip() == key


def test_a_key_works_until_it_is_revoked(waybill: CommandLine) -> None:
    done = waybill.run("keys", "create", "  nightly import ", "--scopes", "read", "--expires", "1h")
    (key,) = done.stdout.splitlines()
    assert key.startswith("wb_") and key not in done.stderr
    assert ask(waybill, key).status_code == 200
    assert ask(waybill, key, f"/files/{ID}", "DELETE").status_code == 403
    listed = {one["key_id"]: one for one in waybill.json("keys", "list")["keys"]}
    key_id = key.split("_")[1]
    known = listed[key_id]
    assert (known["name"], known["scopes"], known["usable"]) == ("nightly import", ["read"], True)
    assert known["last_used_at"] is not None and known["expires_at"] is not None
    assert key[-64:] not in json.dumps(listed) and key[-64:] not in waybill.run("keys", "list").stdout
    revoked = waybill.json("keys", "revoke", key_id)
    assert revoked["usable"] is False and revoked["revoked_at"] is not None
    assert ask(waybill, key).status_code == 401
    assert waybill.json("keys", "revoke", key)["revoked_at"] == revoked["revoked_at"], "a whole key is read as its id"
    entries = waybill.json("audit", "--limit", 1000)["entries"]
    of_this = [entry for entry in entries if key_id in json.dumps(entry)]
    assert [entry["action"] for entry in of_this] == [
        "key_refused", "key_revoked", "key_refused", "key_used", "key_created",
    ]  # fmt: skip
    assert {of_this[1]["actor"], of_this[-1]["actor"]} == {ME}
    assert key[-64:] not in json.dumps(entries)


def test_a_key_has_the_limit_it_was_given(waybill: CommandLine) -> None:
    made = waybill.json("keys", "create", "slow", "--rate", 2)
    assert (made["requests_per_minute"], made["scopes"], made["expires_at"]) == (2, ["read", "write"], None)
    began = time.monotonic()
    statuses = [ask(waybill, made["key"]).status_code for _ in range(2)]
    assert statuses == [200, 200]
    while statuses[-1] == 200:
        statuses.append(ask(waybill, made["key"]).status_code)
        # Two at once, and from then on one every half minute.
        assert statuses.count(200) <= 2 + (time.monotonic() - began) / 30
    assert statuses[-1] == 429
    waybill.run("keys", "revoke", made["key_id"])


def test_a_pinned_file_cannot_be_removed(waybill: CommandLine, tmp_path: Path) -> None:
    file_id = put(waybill, tmp_path)["file_id"]
    pinned = waybill.json("files", "pin", file_id, "--note", "for the audit")
    assert (pinned["pinned"], pinned["pin_note"]) == (True, "for the audit")
    refused = waybill.json("files", "rm", file_id, expect=1)
    assert "is pinned" in refused["files"][0]["error"]
    assert waybill.json("files", "show", file_id)["pinned_at"] == pinned["pinned_at"]
    held = waybill.json("files", "hold", file_id, "--note", "case 2026/114")
    assert (held["held"], held["hold_note"]) == (True, "case 2026/114")
    assert waybill.json("files", "unpin", file_id)["pinned"] is False
    assert "legal hold" in waybill.json("files", "rm", file_id, expect=1)["files"][0]["error"]
    assert f"release {file_id}" in waybill.run("files", "hold", file_id).stderr
    (line,) = [line for line in waybill.run("files", "list").stdout.splitlines() if line.startswith(file_id)]
    assert "  held  " in line
    assert waybill.json("files", "release", file_id)["held"] is False
    extended = waybill.json("files", "extend", file_id, ID, "--until", "2999-01-31", expect=1)
    assert [extended[state] for state in ("extended", "unchanged", "failed")] == [1, 0, 1]
    assert extended["files"][0]["expires_at"] == "2999-01-31T00:00:00+00:00"
    assert "--shorten" in waybill.run("files", "extend", file_id, "--for", "90d").stderr
    assert waybill.json("files", "extend", file_id, "--for", "90d", "--shorten")["extended"] == 1
    assert waybill.json("files", "extend", file_id, "--for", "soon", expect=2)["error"]["code"] == "InvalidOptions"
    assert waybill.json("files", "rm", file_id)["removed"] == 1
    for command in ("pin", "unpin", "hold", "release"):
        assert waybill.json("files", command, file_id, expect=1)["error"]["code"] == "ArtifactGone"
        assert waybill.json("files", command, ID, expect=1)["error"]["code"] == "ArtifactNotFound"


def test_what_commands_do_with_a_file_is_in_the_log(waybill: CommandLine, tmp_path: Path) -> None:
    file_id = put(waybill, tmp_path)["file_id"]
    for arguments in (
        ("get", file_id, "-o", tmp_path / "copy.md"), ("share", file_id), ("pin", file_id), ("unpin", file_id),
        ("show", file_id), ("rm", file_id),
    ):  # fmt: skip
        waybill.run("files", *arguments)
    waybill.run("files", "rm", file_id, expect=1)
    found = waybill.json("audit", "--file", file_id)
    assert [entry["action"] for entry in found["entries"]] == ["delete", "unpin", "pin", "share", "download", "upload"]
    assert {entry["actor"] for entry in found["entries"]} == {ME}
    assert "eyJ" not in json.dumps(found)
    # The same over HTTP, for whoever may see it.
    key = (waybill.home / "api-key").read_text().strip()
    assert ask(waybill, key, f"/audit?file_id={file_id}").json() == found
    people = waybill.run("audit", "--file", file_id, "--action", "share").stdout
    assert ME in people and file_id in people
    paged = waybill.json("audit", "--file", file_id, "--limit", 4)
    rest = waybill.json("audit", "--file", file_id, "--limit", 4, "--after", paged["next"])
    assert paged["entries"] + rest["entries"] == found["entries"] and rest["next"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", ""],
        ["keys", "create", "a\nb"],
        ["keys", "create", "x", "--scopes", "all"],
        ["keys", "create", "x", "--scopes", ""],
        ["keys", "create", "x", "--expires", "soon"],
        ["keys", "create", "x", "--expires", "3651d"],
        ["keys", "create", "x", "--rate", "0"],
        ["keys", "create", "x", "--rate", "9999999999"],
        ["keys", "revoke", "7"],
        ["keys", "revoke", "wb_0123456789ab_secret"],
        ["files", "pin", "report.pdf"],
        ["audit", "--action", "look"],
        ["audit", "--file", "report.pdf"],
        ["audit", "--key", "wb_secret"],
        ["audit", "--hours", "0"],
    ],
)
def test_wrong_use_is_told_before_anything_is_started(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--json"]) == 2
    printed = capsys.readouterr().out
    assert json.loads(printed)["error"]["code"] == "InvalidOptions"
    assert "wb_" not in printed


def test_an_unknown_key_is_told(waybill: CommandLine) -> None:
    assert waybill.json("keys", "revoke", "0" * 12, expect=1)["error"]["code"] == "ApiKeyNotFound"


def test_settings_come_from_the_file_in_the_working_directory(alone: CommandLine, tmp_path: Path) -> None:
    folder = alone.home
    (folder / "waybill.toml").write_text('home = "h"\nretention_days = 2\n')
    alone = alone.with_environment(WAYBILL_HOME="")
    path = tmp_path / "snow.md"
    path.write_text("# Snow\n")
    made = json.loads(alone.run("files", "put", path, "--json", cwd=folder).stdout)
    created, expires = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
    assert expires - created == timedelta(days=2)
    assert (folder / "h" / "postgres").is_dir()
    elsewhere = alone.with_environment(WAYBILL_CONFIG=folder / "waybill.toml")
    listed = json.loads(elsewhere.run("files", "list", "--json", cwd=tmp_path).stdout)["files"]
    assert [one["file_id"] for one in listed] == [made["file_id"]]
    (folder / "waybill.toml").write_text('home = "h"\npassphrase = "not to be printed"\nretention_day = 2\n')
    refused = alone.run("files", "list", "--json", cwd=folder, expect=2)
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "InvalidSettings"
    assert str(folder / "waybill.toml") in error["message"] and "did you mean retention_days?" in error["message"]
    assert "not to be printed" not in refused.stdout + refused.stderr
