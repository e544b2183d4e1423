"""One range of a file on its way to one client: the kernel copies it, in threads, and the event loop never waits.

Owns the turns of the threads. A thread sends for as long as the client takes what the file provides, so a disk that
has to be read first delays that client only. A client that has stopped taking for a moment holds no thread: the event
loop waits for it. `protocol` frames what is sent.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import socket
import struct
import termios
import time
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from blocks.errors import ContentMismatch
from blocks.runtime.threads import StopCheck, in_thread
from waybill.gateway.file_ranges import ClientGone, OnSent

# The most that a thread sends without a look at whether it should stop: a fifth of a second from a slow disk. More than
# what the buffer of a connection holds, so a fast client costs few calls.
_CALL_BYTES = 2 * 1024 * 1024
# After this long a thread goes to the client that has waited longest for one.
_TURN_SECONDS = 0.1
# A client that took this much in one turn is fast. A thread waits for it this long, which saves the way to the event
# loop and back: on a busy machine that takes milliseconds. Slow clients take less, and never keep a thread waiting.
_FAST_BYTES = 256 * 1024
_FAST_MILLISECONDS = 20
# How much is sent between two calls of *on_sent*; slow clients have one after each second in which something was sent.
_NOTED_BYTES = 4 * 1024 * 1024
_NOTED_SECONDS = 1.0
_INT = struct.Struct("i")
# Errors of the connection that are not `ConnectionError`. All others are the file's.
_UNREACHABLE = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})


class FileRangeSending:
    """Sends *count* bytes of the open *file* from *offset* on *sock*, which does not block. The caller closes both.

    `sent_bytes` is what the kernel has taken. The event loop calls *on_sent* now and then, and at the end, with what
    the client's kernel has of that; with all of it once all is sent, which may still be lost with the connection.
    `is_clients_turn` is False while a thread reads or is waited for.
    """

    def __init__(self, sock: socket.socket, file: int, offset: int, count: int, on_sent: OnSent) -> None:
        self._sock, self._file = sock, file
        self._offset, self._count = offset, count
        self._on_sent = on_sent
        self._noted_bytes, self._noted_at = 0, time.monotonic()
        self._reported_bytes = 0
        self._is_noting = False
        self._loop = asyncio.get_running_loop()
        self._has_room: asyncio.Future[None] | None = None
        self._is_stopped = False
        self._refusal: Exception | None = None
        self.sent_bytes = 0
        self.is_clients_turn = False

    async def run(self, threads: Executor) -> None:
        """Send everything, in turns of *threads*. No thread uses the file after this call, also when cancelled.

        Raises `ClientGone`, `ContentMismatch` if the file is too short, `OSError` if it cannot be read, and what
        *on_sent* raises, which ends it too.
        """
        try:
            await self._take_turns(threads)
        finally:
            self._note_sent()
            if self._refusal is not None:
                raise self._refusal

    async def _take_turns(self, threads: Executor) -> None:
        try:
            while self.sent_bytes < self._count:
                await in_thread(self._take_turn, threads)
                if self.sent_bytes < self._count:
                    if time.monotonic() - self._noted_at >= _NOTED_SECONDS:
                        self._note_sent()
                    await self._wait_for_room()
        except OSError as exc:
            if not isinstance(exc, ClientGone) and (isinstance(exc, ConnectionError) or exc.errno in _UNREACHABLE):
                raise ClientGone from exc
            raise

    def stop(self) -> None:
        """Have `run` raise `ClientGone`: the connection is closed."""
        self._is_stopped = True
        if self._has_room is not None and not self._has_room.done():
            self._has_room.set_result(None)

    def _take_turn(self, check: StopCheck) -> None:
        until, began_with = time.monotonic() + _TURN_SECONDS, self.sent_bytes
        while self.sent_bytes < self._count and not self._is_stopped and time.monotonic() < until:
            check()
            count = min(_CALL_BYTES, self._count - self.sent_bytes)
            try:
                sent = os.sendfile(self._sock.fileno(), self._file, self._offset + self.sent_bytes, count)
            except BlockingIOError:
                self.is_clients_turn = True
                is_fast = self.sent_bytes - began_with >= _FAST_BYTES
                if not is_fast or not _has_room(self._sock, _FAST_MILLISECONDS):
                    return
                self.is_clients_turn = False
                continue
            if not sent:
                ends = self._offset + self.sent_bytes
                message = f"a file ends at byte {ends}, and should have {self._offset + self._count}"
                raise ContentMismatch(message)
            self.sent_bytes += sent
            if self.sent_bytes - self._noted_bytes >= _NOTED_BYTES and not self._is_noting:
                self._is_noting = True
                self._loop.call_soon_threadsafe(self._note_sent)

    def _note_sent(self) -> None:
        self._is_noting = False
        sent = self.sent_bytes
        if sent > self._noted_bytes:
            self._noted_bytes, self._noted_at = sent, time.monotonic()
        if sent < self._count:
            # A client that hangs up never gets what is queued here: MiBs, of which nothing may have left.
            sent -= unacknowledged_bytes(self._sock)
        if sent > self._reported_bytes:
            self._reported_bytes = sent
            try:
                self._on_sent(sent)
            except Exception as exc:  # noqa: BLE001 - raised by `run`; here it would only be logged
                self._refusal = exc
                self.stop()

    async def _wait_for_room(self) -> None:
        self._has_room = self._loop.create_future()
        self.is_clients_turn = True  # also after a turn that ended by the clock, which may have filled the buffer
        if not self._is_stopped:
            self._loop.add_writer(self._sock, self._note_room)
            try:
                await self._has_room
            finally:
                self._loop.remove_writer(self._sock)
        if self._is_stopped:
            raise ClientGone
        self.is_clients_turn = False

    def _note_room(self) -> None:
        if self._has_room is not None and not self._has_room.done():
            self._has_room.set_result(None)


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Return how much of what was written to *sock* the other side's kernel has not acknowledged; 0 when closed."""
    try:
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
    except (OSError, ValueError):  # closed
        return 0
    return _INT.unpack(queued)[0]


def _has_room(sock: socket.socket, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(milliseconds))


def descriptor_of(file: Any) -> int:
    """Return the descriptor of a message's *file*, and announce to the kernel that it is read from front to back."""
    descriptor = file if isinstance(file, int) else file.fileno()
    with suppress(OSError):  # a hint only
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return descriptor
