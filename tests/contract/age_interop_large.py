"""One large file through the age command and through Waybill, in both directions; not part of the suite, for its time.

    .venv/bin/python -m tests.contract.age_interop_large [BYTES]

Nothing is kept in memory or on the disk: what one side writes, the other reads through a pipe. Prints what was
compared; ends with 1 where the content that comes out is not the content that went in.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from blocks.age import X25519Identity, identity_file, seal, unseal

_DEFAULT_BYTES = 1_000_000_000
_PIECE_BYTES = 1 << 20


class Counted:
    """Passes pieces on, and knows their number of bytes and their sha256."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.size += len(piece)
            self._digest.update(piece)
            yield piece

    def __str__(self) -> str:
        return f"{self.size:,} bytes, sha256 {self._digest.hexdigest()}"


def main() -> int:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else _DEFAULT_BYTES
    age = shutil.which("age")
    if age is None:
        sys.exit("the age command is not installed")
    version = subprocess.run([age, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    identity = X25519Identity.generate()
    print(f"age {version}, {size:,} bytes of content")
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "key.txt"
        key_file.write_text(identity_file(identity, datetime.now(UTC)))
        theirs = _compare(
            "age encrypts, Waybill decrypts",
            size,
            before=lambda plain: plain,
            command=[age, "-r", identity.recipient.text],
            after=lambda sealed: unseal(sealed, [identity]),
        )
        ours = _compare(
            "Waybill encrypts, age decrypts",
            size,
            before=lambda plain: seal(plain, [identity.recipient]),
            command=[age, "-d", "-i", str(key_file)],
            after=lambda plain: plain,
        )
    return 0 if theirs and ours else 1


def _compare(
    title: str,
    size: int,
    *,
    before: Callable[[Iterator[bytes]], Iterator[bytes]],
    command: list[str],
    after: Callable[[Iterator[bytes]], Iterator[bytes]],
) -> bool:
    """Send content through *before*, *command* and *after*; whether it comes out as it went in."""
    sent, received = Counted(), Counted()
    started = time.monotonic()
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    writer = threading.Thread(target=_write, args=(running.stdin, before(sent.through(_content(size)))))
    writer.start()
    for _ in received.through(after(_pieces(running.stdout))):
        pass
    writer.join()
    ended_well = running.wait() == 0
    same = ended_well and str(sent) == str(received)
    print(f"{title}, {time.monotonic() - started:.1f} s: {'the same' if same else 'NOT THE SAME'}")
    print(f"  in   {sent}\n  out  {received}")
    return same


def _write(stream: IO[bytes], pieces: Iterable[bytes]) -> None:
    with stream:
        for piece in pieces:
            stream.write(piece)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def _content(size: int) -> Iterator[bytes]:
    """Bytes that differ from piece to piece, so that none can take another's place unseen."""
    for number in range(0, size, _PIECE_BYTES):
        piece = hashlib.shake_256(number.to_bytes(8, "big")).digest(1024) * (_PIECE_BYTES // 1024)
        yield piece[: size - number]


if __name__ == "__main__":
    sys.exit(main())
