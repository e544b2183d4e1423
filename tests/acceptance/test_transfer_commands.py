"""``waybill transfers`` as a user types it. What the printed command fetches is shown with the documentation."""

from __future__ import annotations

import shlex
from pathlib import Path

from blocks.age import X25519Identity
from tests.acceptance.conftest import CommandLine


def test_a_download_is_prepared_listed_shown_and_cancelled(on_postgres: CommandLine, tmp_path: Path) -> None:
    document, recipient = tmp_path / "a report.txt", X25519Identity.generate().recipient.text
    document.write_text("Some words.")
    stored = on_postgres.json("files", "put", document)
    made = on_postgres.json("transfers", "prepare", stored["file_id"], "--to", recipient, "--expires", "15m")
    assert (made["direction"], made["state"], made["recipient"]) == ("download", "pending", recipient)
    assert (made["file_id"], made["content_sha256"]) == (stored["file_id"], stored["sha256"])
    words = shlex.split(made["curl"])
    assert words[0] == "curl" and words[-1] == made["url"] and "a report.txt.age" in words
    assert f"Authorization: Bearer {made['token']}" in words
    assert made["url"].endswith(f"/api/v1/transfers/{made['transfer_id']}/download")
    shown = on_postgres.json("transfers", "show", made["transfer_id"])
    assert shown == {name: made[name] for name in shown} and "token" not in shown
    assert on_postgres.json("transfers", "list", "--state", "pending")["transfers"] == [shown]
    assert on_postgres.json("transfers", "list", "--direction", "upload")["transfers"] == []
    (cancelled,) = on_postgres.json("transfers", "cancel", made["transfer_id"])["cancelled"]
    assert cancelled["state"] == "cancelled"
    (again,) = on_postgres.json("transfers", "cancel", made["transfer_id"], expect=1)["failed"]
    assert again["transfer_id"] == made["transfer_id"] and "is cancelled" in again["error"]
    entries = on_postgres.json("audit")["entries"]
    assert [one["action"] for one in entries if one["action"].startswith("transfer")] == [
        "transfer_cancelled", "transfer_prepared"
    ]  # fmt: skip


def test_people_read_what_to_do(on_postgres: CommandLine, tmp_path: Path) -> None:
    document, recipient = tmp_path / "report.txt", X25519Identity.generate().recipient.text
    document.write_text("Some words.")
    file_id = on_postgres.json("files", "put", document)["file_id"]
    said = on_postgres.run("transfers", "prepare", file_id, "--to", recipient)
    assert "URL:" in said.stdout and "curl -f -C - -o report.txt.age" in said.stdout
    assert "only its recipient can open it" in said.stderr
    assert "report.txt" in on_postgres.run("transfers", "list").stdout


def test_what_cannot_be_prepared_is_wrong_use_or_a_failure(on_postgres: CommandLine, tmp_path: Path) -> None:
    document, recipient = tmp_path / "report.txt", X25519Identity.generate().recipient.text
    document.write_text("Some words.")
    file_id = on_postgres.json("files", "put", document)["file_id"]
    for arguments in (
        (file_id,),
        (file_id, "--to", "age1nothing"),
        (file_id, "--to", recipient, "--worker", "gpu-1"),
        (file_id, "--to", recipient, "--expires", "31d"),
        ("report.txt", "--to", recipient),
    ):
        assert "error" in on_postgres.json("transfers", "prepare", *arguments, expect=2)
    nowhere = on_postgres.json("transfers", "prepare", file_id, "--worker", "gpu-1", expect=1)
    assert nowhere["error"]["code"] == "WorkerNotFound"
    assert "error" in on_postgres.json("transfers", "show", f"trf_{'0' * 16}", expect=1)
    assert "error" in on_postgres.json("transfers", "list", "--state", "lost", expect=2)
