"""`waybill send` and `waybill receive` as people type them: the receiver has a link and a key, and nothing else."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blocks.age import X25519Identity, identity_file, seal
from blocks.runtime.clock import utc_now
from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.bounded_road import bounded_road
from tests.stack_driver import PATIENCE_SECONDS, eventually, plain_environment
from tests.transfer_server import running_transfer_server

pytestmark = WITH_UP

# What a receiver notes as received, and how much more than wanted it gets before it is killed.
_GROUP_BYTES, _AHEAD_GROUPS = 256 * 1024, 4
CONTENT = os.urandom(3 * 1024 * 1024 + 77)
TEXT = b"# Snow\n\nThe plough leaves at five.\n" * 20_000


class Person:
    """Somebody with a key and a folder, without a home of Waybill."""

    def __init__(self, folder: Path, waybill: CommandLine) -> None:
        self.folder = folder
        self.identity = X25519Identity.generate()
        self.recipient = self.identity.recipient.text
        (folder / "key.txt").write_text(identity_file(self.identity, utc_now()))
        self.waybill = waybill.with_environment(
            WAYBILL_HOME=folder / "no-home", HOME=folder, WAYBILL_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"
        )

    def run(self, *arguments: object, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.waybill.run(*arguments, expect=expect, cwd=self.folder)


@pytest.fixture
def receiver(waybill: CommandLine, tmp_path: Path) -> Iterator[Person]:
    folder = tmp_path / "receiver"
    folder.mkdir()
    person = Person(folder, waybill)
    yield person
    assert not (folder / "no-home").exists()


@pytest.fixture
def sender(waybill: CommandLine, tmp_path: Path) -> Iterator[Person]:
    """A machine elsewhere, with an API key."""
    folder = tmp_path / "sender"
    folder.mkdir()
    made = waybill.json("keys", "create", "a sender", "--scopes", "read,write")
    (folder / "api-key.txt").write_text(made["key"])
    (folder / "api-key.txt").chmod(0o600)
    person = Person(folder, waybill)
    (folder / "report.pdf").write_bytes(CONTENT)
    yield person
    assert not (folder / "no-home").exists()


def gateway_of(waybill: CommandLine) -> tuple[str, str, str, str]:
    return "--url", waybill.gateway, "--key-file", "api-key.txt"


def test_a_file_goes_from_one_person_to_another(waybill: CommandLine, sender: Person, receiver: Person) -> None:
    done = sender.run("send", "report.pdf", "--to", receiver.recipient, *gateway_of(waybill))
    (link,) = done.stdout.splitlines()
    assert link.startswith(f"{waybill.gateway}/api/v1/transfers/trf_") and "works once" in done.stderr
    received = receiver.run("receive", link, "-i", "key.txt")
    assert received.stdout == "report.pdf\n"
    assert hashlib.sha256(CONTENT).hexdigest() in received.stderr
    assert (receiver.folder / "report.pdf").read_bytes() == CONTENT
    assert stat.S_IMODE((receiver.folder / "report.pdf").stat().st_mode) == 0o600
    assert sorted(found.name for found in receiver.folder.iterdir()) == ["key.txt", "report.pdf"]
    # What was begun is forgotten, and with it the key that had sealed the file.
    assert not any((sender.folder / ".local/state/waybill/sending").iterdir())
    again = receiver.run("receive", link, "-i", "key.txt", "-o", "again", expect=1)
    assert "was used; ask the sender for a new link" in again.stderr


def test_a_passphrase_and_several_files(waybill: CommandLine, sender: Person, receiver: Person) -> None:
    (sender.folder / "two.txt").write_text("two")
    sender.waybill = sender.waybill.with_environment(WAYBILL_PASSPHRASE="a passphrase")
    receiver.waybill = receiver.waybill.with_environment(WAYBILL_PASSPHRASE="a passphrase")
    sent = sender.waybill.run(
        "send", "report.pdf", "missing", "two.txt", "--passphrase", *gateway_of(waybill), "--json",
        cwd=sender.folder, expect=1,
    )  # fmt: skip
    found = json.loads(sent.stdout)
    assert [one["filename"] for one in found["sent"]] == ["report.pdf", "two.txt"]
    assert [(one["file"], one["code"]) for one in found["failed"]] == [("missing", "SourceNotFound")]
    for one, content in zip(found["sent"], (CONTENT, b"two"), strict=True):
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        receiver.run("receive", one["link"], "--passphrase")
        assert (receiver.folder / one["filename"]).read_bytes() == content


def test_a_stored_file_is_sent_without_a_copy(waybill: CommandLine, sender: Person, receiver: Person) -> None:
    (sender.folder / "report.md").write_bytes(TEXT)
    stored = waybill.json("files", "put", sender.folder / "report.md")
    sent = waybill.json("send", f"waybill:{stored['file_id']}", "--to", receiver.recipient)["sent"][0]
    assert (sent["sha256"], sent["size"]) == (stored["sha256"], len(TEXT))
    receiver.run("receive", sent["link"], "-i", "key.txt", "-o", receiver.folder)
    assert (receiver.folder / "report.md").read_bytes() == TEXT
    refused = waybill.with_environment(WAYBILL_PASSPHRASE="x").run(
        "send", f"waybill:{stored['file_id']}", "--passphrase", expect=2
    )
    assert "handed to a key" in refused.stderr


def test_the_wrong_key_an_expired_link_and_a_name_that_is_taken_are_clear(
    waybill: CommandLine, sender: Person, receiver: Person
) -> None:
    (sender.folder / "report.md").write_bytes(TEXT)
    stored = waybill.json("files", "put", sender.folder / "report.md")
    source = f"waybill:{stored['file_id']}"
    link = waybill.run("send", source, "--to", receiver.recipient).stdout.strip()
    wrong = sender.run("receive", link, "-i", "key.txt", "-o", "other", expect=1)
    assert "none of the keys at hand" in wrong.stderr
    assert not (sender.folder / "other").exists()
    (receiver.folder / "report.md").write_text("mine")
    taken = receiver.run("receive", link, "-i", "key.txt", expect=2)
    assert "exists already" in taken.stderr and (receiver.folder / "report.md").read_text() == "mine"
    receiver.run("receive", link, "-i", "key.txt", "--force")
    assert (receiver.folder / "report.md").read_bytes() == TEXT
    short = short_lived_link(waybill, source, receiver)
    eventually(lambda: httpx.head(short, timeout=PATIENCE_SECONDS).status_code == 410, "its time is over")
    assert "has expired" in receiver.run("receive", short, "-i", "key.txt", "-o", "x", expect=1).stderr


def short_lived_link(waybill: CommandLine, source: str, receiver: Person) -> str:
    """A link that ends soon. Its time begins before it is signed, and there is none for less than a whole second."""
    for seconds in (2, 10, 60):
        sent = waybill.run("send", source, "--to", receiver.recipient, "--expires", f"{seconds}s", expect=None)
        if sent.returncode == 0:
            return sent.stdout.strip()
        assert "one second at least" in sent.stderr
    raise AssertionError("a minute was over before a link was signed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "report.pdf"), ("send", "report.pdf", "--to", "age1nonsense"), ("send", "report.pdf", "--passphrase"),
        ("send", "report.pdf", "--to", "age1nonsense", "--passphrase"),
        ("send", "waybill:nonsense", "--to", "@key.txt"), ("receive", "https://waybill.example.org/x", "-i", "key.txt"),
        ("receive", "nonsense", "-i", "key.txt"), ("receive", "https://waybill.example.org/x?token=a"),
    ], ids=" ".join,
)  # fmt: skip
def test_wrong_use_says_what_to_do(sender: Person, arguments: tuple[str, ...]) -> None:
    done = sender.run(*arguments, expect=2)
    assert done.stderr.startswith("waybill: ") and not done.stdout


def test_a_file_without_an_api_key_is_refused_at_once(sender: Person, receiver: Person) -> None:
    (receiver.folder / "key.txt").chmod(0o600)
    wrong = ("--url", "http://127.0.0.1:9", "--key-file", receiver.folder / "key.txt")
    done = sender.run("send", "report.pdf", "--to", receiver.recipient, *wrong, expect=2)
    assert "does not hold an API key" in done.stderr


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../outside.txt.age", "outside.txt"),
        ("/etc/passwd.age", "passwd"),
        ("..age", "age"),
        (".bashrc.age", "bashrc"),
    ],
)
def test_the_sender_chooses_no_folder(given: str, name: str, receiver: Person) -> None:
    with running_transfer_server() as server:
        server.content = b"".join(seal([b"words"], [receiver.identity.recipient]))
        server.headers = {"Content-Disposition": f'attachment; filename="{given}"'}
        server.head_is_get = True
        before = {found.name for found in receiver.folder.iterdir()}
        receiver.run("receive", f"{server.download_url}?token=a-token", "-i", "key.txt")
        assert {found.name for found in receiver.folder.iterdir()} - before == {name}


def test_a_folder_with_the_name_of_the_file_is_left_alone(receiver: Person) -> None:
    (receiver.folder / "letters").mkdir()
    with running_transfer_server() as server:
        server.content = b"".join(seal([b"words"], [receiver.identity.recipient]))
        server.headers = {"Content-Disposition": 'attachment; filename="letters.age"'}
        server.head_is_get = True
        link = f"{server.download_url}?token=a-token"
        done = receiver.run("receive", link, "-i", "key.txt", expect=2)
        assert "letters is not a regular file; name another with -o" in done.stderr
        assert list((receiver.folder / "letters").iterdir()) == []
        receiver.run("receive", link, "-i", "key.txt", "-o", "letters")
    assert (receiver.folder / "letters/letters").read_bytes() == b"words"


def test_a_tampered_file_is_refused(receiver: Person) -> None:
    with running_transfer_server() as server:
        content = bytearray(b"".join(seal([CONTENT], [receiver.identity.recipient])))
        content[-100_000] ^= 1
        server.content = bytes(content)
        server.headers = {"Content-Disposition": 'attachment; filename="report.pdf.age"'}
        server.head_is_get = True
        done = receiver.run("receive", f"{server.download_url}?token=a-token", "-i", "key.txt", expect=1)
    assert "was changed, moved or cut short" in done.stderr
    assert [found.name for found in receiver.folder.iterdir()] == ["key.txt"]


def test_both_are_killed_and_go_on(waybill: CommandLine, sender: Person, receiver: Person) -> None:
    """The sender and the receiver, each killed three times; each byte is sent about once."""
    content = os.urandom(96 * 1024 * 1024)
    (sender.folder / "large.bin").write_bytes(content)
    command = ("send", "large.bin", "--to", receiver.recipient, *gateway_of(waybill))
    states = sender.folder / ".local/state/waybill/sending"
    for _ in range(3):
        killed(sender, command, lambda: any(states.glob("*.seal")))
    (link,) = sender.run(*command).stdout.splitlines()
    state = receiver.folder / ".large.bin.waybill-state"
    gateway = httpx.URL(waybill.gateway)
    with bounded_road(gateway.port or 0) as road:
        receiving = ("receive", link.replace(f":{gateway.port}/", f":{road.port}/"), "-i", "key.txt")
        for part, groups in ((40, 40), (140, 100), (240, 100)):
            road.allow((groups + _AHEAD_GROUPS) * _GROUP_BYTES)
            killed(receiver, receiving, lambda part=part: state.exists() and state.read_bytes().count(b"\1") >= part)
        road.allow(math.inf)
        receiver.run(*receiving)
    assert (receiver.folder / "large.bin").read_bytes() == content
    done = waybill.json("transfers", "show", link.split("/")[-2])
    assert done["state"] == "completed"
    assert done["bytes_sent"] <= 1.15 * done["size"]


def killed(person: Person, arguments: tuple[str, ...], when: object) -> None:
    """Run a command until *when*, and kill it; it may have come to its end before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "waybill", *arguments],
        env={**person.waybill.environment, **{k: v for k, v in plain_environment().items() if k == "PATH"}},
        cwd=person.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: when() or process.poll() is not None, "there is something to kill")  # type: ignore[operator]
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
