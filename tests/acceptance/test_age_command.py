"""`waybill age`, as a user types it."""

from __future__ import annotations

import io
import os
import pty
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.age import ScryptIdentity, X25519Identity, identity_file, seal, unseal
from blocks.settings import current_settings
from tests.peak_memory import peak_bytes
from tests.stack_driver import PATIENCE_SECONDS, eventually
from waybill.cli import run

IDENTITY = X25519Identity.generate()
RECIPIENT = IDENTITY.recipient.text
PLAIN = random.Random(7).randbytes(2_500_000)
MIB = 2**20


@pytest.fixture(autouse=True)
def settings_are_read_afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WAYBILL_PASSPHRASE", raising=False)
    current_settings.cache_clear()
    yield
    current_settings.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a plain file, the same sealed, a key, and a picture."""
    monkeypatch.chdir(tmp_path)
    Path("plain").write_bytes(PLAIN)
    Path("sealed.age").write_bytes(b"".join(seal([PLAIN], [IDENTITY.recipient])))
    Path("key.txt").write_text(identity_file(IDENTITY, datetime.now(UTC)))
    Path("image").write_bytes(b"\xff\xd8\xff\xe0")
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let the next command find *content* on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def as_process(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "waybill", "age", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_file_goes_to_a_file_and_back(folder: Path) -> None:
    assert run(["age", "encrypt", "-r", RECIPIENT, "-o", "out.age", "plain"]) == 0
    assert stat.S_IMODE(Path("out.age").stat().st_mode) == 0o600
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "out.age"]) == 0
    assert Path("back").read_bytes() == PLAIN
    assert {path.name for path in folder.iterdir()} == {"plain", "sealed.age", "key.txt", "image", "out.age", "back"}


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_standard_input_goes_to_standard_output_and_back(
    folder: Path, dash: list[str], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    give(monkeypatch, PLAIN)
    assert run(["age", "encrypt", "-r", RECIPIENT, *dash]) == 0
    sealed = capfdbinary.readouterr().out
    assert b"".join(unseal([sealed], [IDENTITY])) == PLAIN
    give(monkeypatch, sealed)
    assert run(["age", "decrypt", "-i", "key.txt", *dash, *(["-o", "-"] if dash else [])]) == 0
    captured = capfdbinary.readouterr()
    assert captured.out == PLAIN
    assert captured.err == b""


def test_all_named_recipients_can_open_it(folder: Path) -> None:
    others = [X25519Identity.generate() for _ in range(3)]
    Path("team").write_text(f"# the team\n{others[1].recipient.text}\n\n{others[2].recipient.text}\n")
    command = ["age", "encrypt", "-r", RECIPIENT, "-r", others[0].recipient.text, "-R", "team", "-o", "o.age", "plain"]
    assert run(command) == 0
    for identity in (IDENTITY, *others):
        assert b"".join(unseal([Path("o.age").read_bytes()], [identity])) == PLAIN


def test_a_passphrase_seals_where_no_recipient_is_named_and_opens_beside_keys(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYBILL_PASSPHRASE", "correct horse")
    assert run(["age", "encrypt", "-o", "phrase.age", "key.txt"]) == 0
    sealed = Path("phrase.age").read_bytes()
    assert b"".join(unseal([sealed], [ScryptIdentity("correct horse")])) == Path("key.txt").read_bytes()
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "phrase.age"]) == 0
    assert Path("back").read_bytes() == Path("key.txt").read_bytes()
    assert run(["age", "encrypt", "-r", RECIPIENT, "-o", "keyed.age", "plain"]) == 0
    assert b"X25519" in Path("keyed.age").read_bytes()[:40]
    monkeypatch.setenv("WAYBILL_PASSPHRASE", "wrong")
    current_settings.cache_clear()
    assert run(["age", "decrypt", "-o", "no", "phrase.age"]) == 1
    error = capsys.readouterr().err
    assert "passphrase" in error
    assert "wrong" not in error
    assert not Path("no").exists()


def test_an_armored_file_is_read(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    import pyrage

    recipient = pyrage.x25519.Recipient.from_str(RECIPIENT)
    Path("armored.asc").write_bytes(b"\r\n " + pyrage.encrypt(PLAIN, [recipient], armored=True))
    assert run(["age", "decrypt", "-i", "key.txt", "armored.asc"]) == 0
    assert capfdbinary.readouterr().out == PLAIN


def test_a_damaged_file_leaves_no_file_and_tells_what_is_wrong(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sealed = Path("sealed.age").read_bytes()
    Path("sealed.age").write_bytes(sealed[:-5])
    before = {path.name for path in folder.iterdir()}
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "sealed.age"]) == 1
    assert b"changed, moved or cut short" in capfdbinary.readouterr().err
    assert {path.name for path in folder.iterdir()} == before
    assert run(["age", "decrypt", "-i", "key.txt", "sealed.age"]) == 1
    captured = capfdbinary.readouterr()
    assert PLAIN.startswith(captured.out)
    assert len(captured.out) == len(PLAIN) // 65_536 * 65_536
    assert b"do not use it" in captured.err


def test_somebody_elses_key_opens_nothing(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Path("key.txt").write_text(identity_file(X25519Identity.generate(), datetime.now(UTC)))
    assert run(["age", "decrypt", "-i", "key.txt", "sealed.age"]) == 1
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert b"none of the keys" in captured.err


def test_a_file_that_is_there_is_replaced_only_by_force(folder: Path) -> None:
    Path("back").write_text("precious")
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "sealed.age"]) == 2
    assert Path("back").read_text() == "precious"
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "--force", "plain"]) == 1
    assert Path("back").read_text() == "precious"
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "back", "--force", "sealed.age"]) == 0
    assert Path("back").read_bytes() == PLAIN
    os.mkfifo("pipe")
    assert run(["age", "decrypt", "-i", "key.txt", "-o", "pipe", "--force", "sealed.age"]) == 2
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["encrypt", "plain"], 2, "WAYBILL_PASSPHRASE"),
        (["decrypt", "sealed.age"], 2, "WAYBILL_PASSPHRASE"),
        (["encrypt", "-r", "age1nonsense", "plain"], 2, "-r: not an X25519 recipient"),
        (["encrypt", "-R", "nowhere", "plain"], 2, "nowhere"),
        (["encrypt", "-R", "plain", "plain"], 2, "too large"),
        (["encrypt", "-R", "key.txt", "plain"], 2, "line 3"),
        (["encrypt", "-r", RECIPIENT, "nowhere"], 2, "nowhere"),
        (["encrypt", "-r", RECIPIENT, "."], 2, "directory"),
        (["encrypt", "-r", RECIPIENT, "-o", "no/such/folder", "plain"], 1, "no/such/folder"),
        (["decrypt", "-i", "nowhere", "sealed.age"], 2, "nowhere"),
        (["decrypt", "-i", "plain", "sealed.age"], 2, "too large"),
        (["decrypt", "-i", "image", "sealed.age"], 2, "not text"),
        (["decrypt", "-i", "key.txt", "nowhere"], 2, "nowhere"),
        (["decrypt", "-i", "key.txt", "plain"], 1, "not a well-formed age file"),
        (["decrypt", "-i", "key.txt", "/dev/null"], 1, "empty"),
        (["decrypt", "--what"], 2, "what"),
    ],
)
def test_what_cannot_be_done_is_told_without_a_secret(
    folder: Path, arguments: list[str], exit_code: int, told: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["age", *arguments]) == exit_code
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert told in captured.err.decode()
    assert captured.err.startswith(b"waybill: ")
    assert IDENTITY.text.encode() not in captured.err


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["age", "encrypt", "--help"]) == 0
    assert run(["age", "decrypt", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("-r,", "-R,", "-i,", "-o,", "--force", "WAYBILL_PASSPHRASE"):
        assert option in shown


def test_a_reader_that_goes_away_ends_it_without_a_traceback(folder: Path) -> None:
    running = subprocess.Popen(
        as_process("decrypt", "-i", "key.txt", "sealed.age"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdout is not None
    running.stdout.close()
    errors = running.communicate(timeout=PATIENCE_SECONDS)[1]
    assert running.returncode == 1
    assert errors.decode() == "waybill: cannot write standard output: Broken pipe\n"


@pytest.mark.parametrize(
    ("content", "arguments", "exit_code", "shown"),
    [
        (b"", ["encrypt", "-r", RECIPIENT, "plain"], 2, "standard output is a terminal"),
        (b"\x1b]0;gotcha\x07", ["decrypt", "-i", "key.txt", "content.age"], 2, "not plain text"),
        (b"gotcha\xff\xfe", ["decrypt", "-i", "key.txt", "content.age"], 2, "not plain text"),
        ("gr\u00fc\u00dfe\n".encode(), ["decrypt", "-i", "key.txt", "content.age"], 0, "gr\u00fc\u00dfe"),
    ],
    ids=["sealed", "terminal-commands", "no-text", "text"],
)
def test_a_terminal_gets_text_and_nothing_else(
    folder: Path, content: bytes, arguments: list[str], exit_code: int, shown: str
) -> None:
    Path("content.age").write_bytes(b"".join(seal([content], [IDENTITY.recipient])))
    controller, terminal = pty.openpty()
    done = subprocess.run(
        as_process(*arguments), stdout=terminal, stderr=terminal, timeout=PATIENCE_SECONDS, env=environment()
    )
    os.set_blocking(controller, False)
    output = bytearray()

    def is_shown() -> bool:
        # The kernel hands a terminal's output on in pieces, and a moment later.
        with suppress(BlockingIOError):
            output.extend(os.read(controller, 65_536))
        return shown in output.decode(errors="replace")

    eventually(is_shown, f"the terminal shows {shown!r}")
    os.close(terminal)
    with suppress(OSError):  # EIO at the end
        while piece := os.read(controller, 65_536):
            output += piece
    os.close(controller)
    assert done.returncode == exit_code
    assert b"gotcha" not in output


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    def peak(size: int) -> int:
        with Path("big").open("wb") as stream:
            stream.truncate(size)
        peaks = [
            peak_bytes(as_process(*arguments), environment())[0]
            for arguments in (
                ("encrypt", "-r", RECIPIENT, "-o", "big.age", "--force", "big"),
                ("decrypt", "-i", "key.txt", "-o", "big.back", "--force", "big.age"),
            )
        ]
        assert Path("big.back").stat().st_size == size
        return max(peaks)

    small = peak(MIB)
    assert peak(96 * MIB) < small + 16 * MIB
