"""Keys, verification, rotation and a lost database, as a person types them, in a home of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks.age import X25519Identity, parse_identities, unseal
from tests.acceptance.conftest import CommandLine
from tests.s3 import S3Server
from tests.shared_servers import shared_prefect
from tests.stack_driver import PATIENCE_SECONDS, StackCommand, eventually, prefect_variables

SAMPLES = Path("samples")


def put(waybill: CommandLine, folder: Path, name: str, text: str) -> dict[str, Any]:
    path = folder / name
    path.write_text(text)
    return waybill.json("files", "put", path)


def listed(waybill: CommandLine) -> list[dict[str, Any]]:
    return waybill.json("files", "list")["files"]


@contextmanager
def postgres_of(waybill: CommandLine) -> Iterator[None]:
    """The Postgres of the home runs during the block, so that not each command starts and stops it."""
    with StackCommand(waybill.home) as stack:
        stack.answer()
        yield
        assert stack.leave() == 0


def test_a_lost_database_comes_back_from_the_storage(alone: CommandLine, tmp_path: Path) -> None:
    with postgres_of(alone):
        told = " ".join(alone.run("files", "put", SAMPLES / "visitor-guide.html").stderr.split())
        assert f"made the storage key {alone.home}/storage-identity" in told
        assert "Keep a copy" in told
        put(alone, tmp_path, "letter.txt", "A letter.\n")
        before = listed(alone)
    shutil.rmtree(alone.home / "postgres")
    assert listed(alone) == []

    with postgres_of(alone):
        foreseen = alone.json("catalog", "rebuild", "--dry-run")
        assert (foreseen["restored"], foreseen["dry_run"]) == (2, True)
        assert listed(alone) == []
        rebuilt = alone.json("catalog", "rebuild")
        assert {**rebuilt, "dry_run": None} == {
            "restored": 2, "known": 0, "failed": [], "blobs_without_manifest": [], "dry_run": None,
        }  # fmt: skip
        assert listed(alone) == before
        verified = alone.json("files", "verify", "--all")
        assert (verified["verified"], verified["damaged"], verified["files"]) == (2, 0, [])


def test_a_lost_key_is_an_error_until_it_is_back_or_given_up(on_postgres: CommandLine, tmp_path: Path) -> None:
    one = put(on_postgres, tmp_path, "letter.txt", "A letter.\n")
    identity = on_postgres.home / "storage-identity"
    kept = tmp_path / "kept"
    recipient = on_postgres.run("keys", "storage").stdout.strip()
    identity.rename(kept)

    # Reading says what it lacks, verifying fails, and nothing creates a key.
    answer = on_postgres.json("files", "get", one["file_id"], "-o", tmp_path / "out", expect=1)
    assert answer["error"]["code"] == "NoMatchingIdentity"
    assert not (tmp_path / "out").exists()
    for chosen in (one["file_id"], "--all"):
        verified = on_postgres.json("files", "verify", chosen, expect=1)
        assert (verified["verified"], verified["stored_bytes_only"]) == (1, 1)
        assert [(file["file_id"], file["content_checked"]) for file in verified["files"]] == [(one["file_id"], False)]
    assert "by its stored bytes alone" in on_postgres.run("files", "verify", "--all", expect=1).stdout
    rebuilt = on_postgres.json("catalog", "rebuild", expect=1)
    assert (rebuilt["restored"], len(rebuilt["failed"])) == (0, 1)
    (tmp_path / "other.txt").write_text("Another letter.\n")
    for command in (
        ("files", "put", tmp_path / "other.txt"),
        ("keys", "storage"),
        ("keys", "rotate-storage"),
    ):
        message = on_postgres.json(*command, expect=2)["error"]["message"]
        assert str(identity) in message and recipient in message and "1 stored file" in message and "--new" in message
    assert not identity.exists()
    assert len(listed(on_postgres)) == 1
    elsewhere = on_postgres.with_environment(WAYBILL_STORAGE_RECIPIENT=recipient)
    assert elsewhere.json("files", "verify", "--all")["stored_bytes_only"] == 1

    # The key of another home: files are stored for it, with a warning, and verifying still fails.
    another = X25519Identity.generate()
    identity.write_text(another.text)
    identity.chmod(0o600)
    warned = on_postgres.run("files", "put", tmp_path / "other.txt").stderr
    assert "opens none of the 1 encrypted files" in " ".join(warned.split())
    assert on_postgres.json("files", "verify", "--all", expect=1)["stored_bytes_only"] == 1
    identity.unlink()

    # Given up by an explicit act, which is refused where a key is there.
    gave_up = on_postgres.run("keys", "storage", "--new")
    made = gave_up.stdout.strip()
    assert "stay unreadable" in gave_up.stderr
    assert made not in {recipient, another.recipient.text}
    assert "rotate-storage" in on_postgres.json("keys", "storage", "--new", expect=2)["error"]["message"]

    kept.rename(identity)
    on_postgres.run("files", "get", one["file_id"], "-o", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "A letter.\n"


def test_a_rotation_takes_the_old_key_its_power(on_postgres: CommandLine, tmp_path: Path) -> None:
    one = put(on_postgres, tmp_path, "letter.txt", "A letter.\n")
    old = parse_identities(on_postgres.run("keys", "storage", "--identity").stdout)
    rotated = on_postgres.json("keys", "rotate-storage")
    assert (rotated["moved"], rotated["failed"], rotated["new_key"]) == (1, [], True)
    assert on_postgres.run("keys", "storage").stdout.strip() == rotated["recipient"] != old[0].recipient.text

    new = parse_identities(on_postgres.run("keys", "storage", "--identity").stdout)
    assert [key.text for key in new[1:]] == [key.text for key in old]
    shown = on_postgres.json("files", "show", one["file_id"])
    assert shown["encrypted_for"] == rotated["recipient"]
    stored = Path(shown["location"]).read_bytes()
    assert b"".join(unseal([stored], new[:1])) == b"A letter.\n"
    assert old[0].recipient.text not in on_postgres.run("keys", "storage", "--json").stdout
    assert [path.suffix for path in (on_postgres.home / "artifacts").glob("*/*/*")] == [""]


def test_rotations_at_once_lose_no_key(on_postgres: CommandLine, tmp_path: Path) -> None:
    one = put(on_postgres, tmp_path, "letter.txt", "A letter.\n")
    rotating = [
        subprocess.Popen(
            [sys.executable, "-m", "waybill", "keys", "rotate-storage", "--json"],
            env=on_postgres.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]
    answers = [json.loads(process.communicate(timeout=PATIENCE_SECONDS)[0]) for process in rotating]
    refused = [answer for answer in answers if answer.get("error", {}).get("code") == "RotationUnderWay"]
    done = [answer for answer in answers if answer.get("new_key")]
    assert done
    assert len(done) + len(refused) == len(answers)
    # Who was refused has made no key; who was not has moved the file, to a key that is in the file of keys.
    assert [answer["moved"] for answer in done] == [1] * len(done)
    assert len(parse_identities((on_postgres.home / "storage-identity").read_text())) == 1 + len(done)
    shown = on_postgres.json("files", "show", one["file_id"])
    assert shown["encrypted_for"] == on_postgres.run("keys", "storage").stdout.strip()
    on_postgres.run("files", "get", one["file_id"], "-o", tmp_path / "out")


def test_what_everybody_can_read_is_no_key(on_postgres: CommandLine) -> None:
    on_postgres.run("keys", "storage")
    (on_postgres.home / "storage-identity").chmod(0o644)
    answer = on_postgres.json("files", "verify", "--all", expect=2)
    assert answer["error"]["code"] == "InvalidSettings"
    assert "chmod 600" in answer["error"]["message"]


def test_the_public_key_alone_processes_and_the_secret_one_reads_it(on_servers: CommandLine, tmp_path: Path) -> None:
    recipient = on_servers.run("keys", "storage").stdout.strip()
    identity = tmp_path / "identity"
    (on_servers.home / "storage-identity").rename(identity)
    writer = on_servers.with_environment(WAYBILL_STORAGE_RECIPIENT=recipient)
    report = writer.json("process", SAMPLES / "visitor-guide.html", "--stages", "1-3")
    assert report["state"] == "completed"
    assert not (on_servers.home / "storage-identity").exists()
    chunks = report["documents"][0]["artifacts"][-1]
    refused = writer.json("files", "get", chunks["file_id"], "-o", tmp_path / "out", expect=1)
    assert refused["error"]["code"] == "NoMatchingIdentity"

    reader = on_servers.with_environment(WAYBILL_STORAGE_IDENTITY_FILE=identity)
    reader.run("files", "get", chunks["file_id"], "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out").read_text())["chunks"]


def test_the_whole_job_on_s3(
    alone: CommandLine, run_folder: Path, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    """All stages, reuse, verification, rotation and a lost database, with nothing stored on this machine."""
    waybill = alone.with_environment(
        WAYBILL_STORAGE_URL=f"s3://{s3_bucket}/custody",
        WAYBILL_STORAGE_OPTIONS=json.dumps(s3_server.options),
        **prefect_variables(shared_prefect(run_folder)),
        PREFECT_HOME=alone.home / "prefect",
    )
    sources = (SAMPLES / "visitor-guide.html", SAMPLES / "rack-bar-wear.eml")
    with postgres_of(alone):
        report = waybill.json("process", *sources)
        assert report["state"] == "completed"
        assert [len(document["artifacts"]) for document in report["documents"]] == [6, 6]
        assert not (alone.home / "artifacts").exists()
        again = waybill.json("process", *sources)
        assert {artifact["reused"] for document in again["documents"] for artifact in document["artifacts"]} == {True}

        upload = report["documents"][0]["artifacts"][0]
        shown = waybill.json("files", "show", upload["file_id"])
        assert shown["location"].startswith(f"s3://{s3_bucket}/custody/uploads/")
        waybill.run("files", "get", upload["file_id"], "-o", tmp_path / "guide.html")
        assert (tmp_path / "guide.html").read_bytes() == sources[0].read_bytes()
        assert waybill.json("keys", "rotate-storage")["moved"] == 12
        before = listed(waybill)
    shutil.rmtree(alone.home / "postgres")
    with postgres_of(alone):
        assert waybill.json("catalog", "rebuild")["restored"] == 12
        assert listed(waybill) == before
        assert waybill.json("files", "verify", "--all")["verified"] == 12

        waybill.run("files", "rm", upload["file_id"])
        client = s3_server.client()

        def keys() -> list[str]:
            return [entry["Key"] for entry in client.list_objects_v2(Bucket=s3_bucket)["Contents"]]

        # Eleven files, each with its manifest in it. Swift lists what has just gone for a moment when it is busy.
        eventually(lambda: len(keys()) == 11, "the rest is stored")
        assert all(key.startswith("custody/") for key in keys())
        client.close()
        assert s3_server.secret_key not in waybill.run("files", "list").stdout
