"""A stage that does what the document's text says, for tests of the limits; and one that takes documents together.

Hang, eat memory, keep it, need some, abort, exit, raise, meet a full disk, kill the forkserver or its parent, linger
until the file `go` is there, or one of the text's own, vanish between the work and its report, make a large output.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from blocks.errors import CatalogUnavailable, UnreadableDocument, WaybillError
from tasks.contract import SOURCE, Read, Stage, StageInput, StageOptions, StageOutput

MIB = 2**20
_kept: list[bytearray] = []


class HostileOptions(StageOptions):
    """None: the document decides."""


def run(given: StageInput, options: HostileOptions) -> StageOutput:
    """Obey the document."""
    del options
    text = given.first(SOURCE).read_text()
    if "hang" in text:
        time.sleep(3600)
    if "spin" in text:
        while True:
            pass
    if "eat" in text:
        return StageOutput(content=bytes(bytearray(8 * 2**30)))
    if "keep" in text:
        with contextlib.suppress(MemoryError):
            while True:
                _kept.append(bytearray(16 * MIB))
    if "need" in text:
        bytearray(32 * MIB)
    if "abort" in text:
        os.abort()
    if "exit" in text:
        os._exit(7)
    if "killer" in text:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)
    if "assassin" in text:  # of the process that has started the forkserver
        os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
        time.sleep(3600)
    if "linger" in text:
        with (given.services.home / "attempts").open("a") as attempts:
            print(text, os.getpid(), file=attempts)
        while not any((given.services.home / name).exists() for name in ("go", f"go {text}")):
            time.sleep(0.01)
    if "full" in text:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as exc:
            raise RuntimeError("secret content of the document") from exc  # as a library does it
    if "raise" in text:
        raise ZeroDivisionError("secret content of the document")
    if "transient" in text:
        marker = given.services.home / "seen-once"
        if not marker.exists():
            marker.touch()
            raise CatalogUnavailable("not now")
    if "bulky" in text:
        return StageOutput(content=bytes(2 * MIB))
    metadata: dict[str, int] = {"letters": len(text)}
    if "vanish" in text:
        metadata = _Vanishing(metadata, given.services.home / "vanished", always="always" in text)
    return StageOutput(content=text.upper().encode(), metadata=metadata)


class _Vanishing(dict[str, int]):
    """Ends the process that sends it home: the first one, or each."""

    def __init__(self, given: dict[str, int], marker: Path, *, always: bool) -> None:
        super().__init__(given)
        self._marker = marker
        self._always = always

    def __reduce__(self) -> tuple[type[dict[str, int]], tuple[dict[str, int]]]:
        if self._always or not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return dict, (dict(self),)


HOSTILE = Stage(
    number=6,
    name="hostile",
    version="1",
    suffix=".hostile.txt",
    media_type="text/plain",
    reads=(Read(any_of=(SOURCE,)),),
    options=HostileOptions,
    run=run,
)


def run_together(given: Sequence[StageInput], options: HostileOptions) -> list[StageOutput | WaybillError]:
    """Obey the documents, and note how many there are; "refused" is an error of its document, "raise" one of all."""
    with (given[0].services.home / "together").open("a") as calls:
        print(len(given), file=calls)
    return [
        UnreadableDocument(one.document.name) if "refused" in one.document.name else run(one, options) for one in given
    ]


TOGETHER = replace(HOSTILE, number=7, name="hostile-together", suffix=".together.txt", run_together=run_together)
