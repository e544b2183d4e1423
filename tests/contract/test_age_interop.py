"""Files of the age command and of pyrage open here, and ours open there."""

from __future__ import annotations

import os
import pty
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from blocks.age import (
    Attachment,
    Identity,
    ScryptIdentity,
    ScryptRecipient,
    X25519Identity,
    dearmor,
    identity_file,
    is_armored,
    parse_identities,
    parse_recipient,
    rewrap,
    seal,
    seal_whole,
    unseal,
    unseal_whole,
)
from blocks.age.header import header_length
from tests.stack_driver import PATIENCE_SECONDS

# Around the chunks of 64 KiB, and around the groups of them that are worked on at once.
SIZES = [0, 1, 65_535, 65_536, 65_537, 2**20, 2**20 + 1, 3 * 2**20 + 12_345]
PASSPHRASE = "correct horse battery staple"

Encrypt = Callable[[bytes, list[X25519Identity], bool], bytes]
Decrypt = Callable[[bytes, X25519Identity], bytes]


@pytest.fixture
def age() -> str:
    """The age command, which `make test` installs where it can; pyrage and the published vectors are always there."""
    found = shutil.which("age")
    if found is None:
        pytest.skip("the age command is not installed (Debian's package is named age)")
    return found


@pytest.fixture(params=["age", "pyrage"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Encrypt, Decrypt]:
    """Another implementation of the format."""
    if request.param == "pyrage":
        return _encrypt_with_pyrage, _decrypt_with_pyrage
    command = request.getfixturevalue("age")

    def encrypt(plain: bytes, identities: list[X25519Identity], armored: bool) -> bytes:
        recipients = [argument for identity in identities for argument in ("-r", identity.recipient.text)]
        return _run([command, *recipients, *["-a"] * armored], plain)

    def decrypt(sealed: bytes, identity: X25519Identity) -> bytes:
        key_file = tmp_path / "key.txt"
        key_file.write_text(identity_file(identity, datetime.now(UTC)))
        return _run([command, "-d", "-i", str(key_file)], sealed)

    return encrypt, decrypt


def _encrypt_with_pyrage(plain: bytes, identities: list[X25519Identity], armored: bool) -> bytes:
    recipients = [pyrage.x25519.Recipient.from_str(identity.recipient.text) for identity in identities]
    return pyrage.encrypt(plain, recipients, armored=armored)


def _decrypt_with_pyrage(sealed: bytes, identity: X25519Identity) -> bytes:
    return pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(identity.text)])


def _run(command: list[str], given: bytes) -> bytes:
    return subprocess.run(command, input=given, capture_output=True, check=True, timeout=PATIENCE_SECONDS).stdout


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def opened(sealed: bytes, identities: list[Identity]) -> bytes:
    chunks = dearmor([sealed]) if is_armored(sealed) else [sealed]
    return b"".join(unseal(chunks, identities))


@pytest.mark.parametrize("size", SIZES)
def test_files_open_in_both_directions(other: tuple[Encrypt, Decrypt], size: int) -> None:
    encrypt, decrypt = other
    identity, plain = X25519Identity.generate(), content(size)
    assert opened(encrypt(plain, [identity], False), [identity]) == plain
    assert decrypt(b"".join(seal([plain], [identity.recipient])), identity) == plain


def test_each_of_several_recipients_opens_the_file(other: tuple[Encrypt, Decrypt]) -> None:
    encrypt, decrypt = other
    identities, plain = [X25519Identity.generate() for _ in range(4)], content(70_000)
    theirs = encrypt(plain, identities, False)
    ours = b"".join(seal([plain], [identity.recipient for identity in identities]))
    for identity in identities:
        assert opened(theirs, [X25519Identity.generate(), identity]) == plain
        assert decrypt(ours, identity) == plain


def test_their_armor_is_read_whatever_is_left_for_its_last_line(other: tuple[Encrypt, Decrypt]) -> None:
    encrypt, _ = other
    identity = X25519Identity.generate()
    for size in (*range(48), 65_536, 100_000):  # a line holds 48 bytes
        plain = content(size)
        armored = encrypt(plain, [identity], True)
        assert is_armored(armored)
        assert opened(armored, [identity]) == plain


def test_a_rewrapped_file_of_theirs_is_theirs_to_read(other: tuple[Encrypt, Decrypt]) -> None:
    encrypt, decrypt = other
    before, after, plain = X25519Identity.generate(), X25519Identity.generate(), content(200_000)
    sealed = encrypt(plain, [before], False)
    length = header_length(sealed)
    assert length is not None
    changed = rewrap(sealed[:length], [before], [after.recipient]) + sealed[length:]
    assert decrypt(changed, after) == plain


def test_passphrases_of_pyrage_work_in_both_directions() -> None:
    plain = content(65_537)
    # pyrage chooses the work by the speed of the machine, which may be above what is accepted from strangers.
    theirs = pyrage.passphrase.encrypt(plain, PASSPHRASE)
    assert opened(theirs, [ScryptIdentity(PASSPHRASE, max_log_n=22)]) == plain
    ours = b"".join(seal([plain], [ScryptRecipient(PASSPHRASE, log_n=10)]))
    assert pyrage.passphrase.decrypt(ours, PASSPHRASE) == plain


def test_passphrases_of_the_age_command_work_in_both_directions(age: str, tmp_path: Path) -> None:
    plain = content(1000)
    (tmp_path / "plain").write_bytes(plain)
    _with_passphrase([age, "-p", "-o", "theirs", "plain"], tmp_path)
    assert opened((tmp_path / "theirs").read_bytes(), [ScryptIdentity(PASSPHRASE)]) == plain
    (tmp_path / "ours").write_bytes(b"".join(seal([plain], [ScryptRecipient(PASSPHRASE, log_n=10)])))
    _with_passphrase([age, "-d", "-o", "back", "ours"], tmp_path)
    assert (tmp_path / "back").read_bytes() == plain


def test_keys_of_age_keygen_are_read_and_ours_look_like_them(age: str, tmp_path: Path) -> None:
    keygen = Path(age).with_name("age-keygen")
    text = _run([str(keygen)], b"").decode()
    (identity,) = parse_identities(text)
    lines = text.splitlines()
    created = datetime.fromisoformat(lines[0].removeprefix("# created: "))
    assert identity_file(X25519Identity.from_text(identity.text), created) == text
    ours = tmp_path / "ours.txt"
    ours.write_text(identity_file(X25519Identity.generate(), datetime.now(UTC)))
    public = _run([str(keygen), "-y", str(ours)], b"").decode().strip()
    (own,) = parse_identities(ours.read_text())
    assert parse_recipient(public) == own.recipient


def _with_passphrase(command: list[str], folder: Path) -> None:
    """Run *command* on a terminal of its own and answer each of its questions with the passphrase."""
    controller, terminal = pty.openpty()
    # age asks its controlling terminal: in a new session, the first one that is opened becomes that.
    on_terminal = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
    running = subprocess.Popen(
        [sys.executable, "-c", on_terminal, os.ttyname(terminal), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _answer(controller, running)
        assert running.returncode == 0
    finally:
        running.kill()
        running.wait()
        os.close(controller)
        os.close(terminal)


def _answer(controller: int, running: subprocess.Popen[bytes]) -> None:
    os.set_blocking(controller, False)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while running.poll() is None:
        assert time.monotonic() < deadline, "age waits for something else than a passphrase"
        try:
            asked = b"passphrase" in os.read(controller, 4096)
        except BlockingIOError:
            asked = False
        if asked:
            os.write(controller, PASSPHRASE.encode() + b"\n")
        time.sleep(0.01)


@pytest.mark.parametrize("text", [b"", b"x", b"y" * 48, b"z" * 65_536])
def test_a_file_with_an_attachment_opens_there_and_shows_it_to_its_readers_here(
    other: tuple[Encrypt, Decrypt], text: bytes
) -> None:
    _, decrypt = other
    identity, plain = X25519Identity.generate(), content(70_000)
    header, payload = seal_whole(plain, [identity.recipient], Attachment("waybill-manifest", text))
    assert decrypt(header + payload, identity) == plain
    assert unseal_whole(header + payload, [identity], "waybill-manifest") == (plain, text, header)
    assert opened(header + payload, [identity]) == plain
    # Handed over to somebody else, it says nothing more than the content.
    receiver = X25519Identity.generate()
    handed_over = rewrap(header, [identity], [receiver.recipient])
    assert b"waybill-manifest" not in handed_over
    assert decrypt(handed_over + payload, receiver) == plain
    assert unseal_whole(handed_over + payload, [receiver], "waybill-manifest") == (plain, None, handed_over)
