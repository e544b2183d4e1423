"""Send a file by tus 1.0: sealed on the way, resumed at the byte that the gateway has.

Implements the client of the core protocol with the extension creation. One PATCH carries all that is missing; after
any failure HEAD says where to go on.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from blocks.age.recipients import Recipient
from blocks.errors import TransferConflict, TransferNotFound, TransferOver, TransferRefused, WaybillError
from blocks.hand_over.connection import FAILURES, Connection, Requests, Session
from blocks.hand_over.control import address_of
from blocks.hand_over.fetching import Progress
from blocks.hand_over.outgoing_file import OutgoingFile, PlainFile, SealedFile, SealState, Source, new_seal
from blocks.hand_over.own_thread import RenewToken, from_thread, in_thread_of_its_own
from blocks.hand_over.patience import DEFAULT_PATIENCE_SECONDS
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import WorkStopped

_TUS = {"Tus-Resumable": "1.0.0"}
# The gateway verifies what it has before it answers the last PATCH, which takes it about a second a gigabyte.
_LAST_ANSWER_SECONDS = 600.0
_MAX_STATUS_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A file that has been sent: bytes of it as sent, bytes of this process, and the transfer as the gateway has it."""

    size: int
    bytes_sent: int
    transfer: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the sender says of the file. `sha256` is of the bytes that are sent, where it is known."""

    filename: str | None = None
    media_type: str | None = None
    sha256: str | None = None
    content_size: int | None = None
    content_sha256: str | None = None

    def as_metadata(self) -> str:
        """Return the value of Upload-Metadata."""
        given = {
            "filename": self.filename,
            "filetype": self.media_type,
            "sha256": self.sha256,
            "content_size": self.content_size,
            "content_sha256": self.content_sha256,
        }
        return ",".join(
            f"{name} {b64encode(str(value).encode()).decode()}" for name, value in given.items() if value is not None
        )


async def upload(
    url: str,
    token: str,
    source: Path,
    *,
    recipients: Sequence[Recipient] | None,
    state: Path | None = None,
    declared: Declared | None = None,
    on_progress: Progress | None = None,
    renew_token: RenewToken | None = None,
    patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
) -> Uploaded:
    """Send *source* to the upload at *url*, sealed for *recipients*; None sends its bytes as they are.

    The same call continues what an earlier one, or a killed process, has begun: with *state*, a file for secrets that
    only exists until all has arrived; without it, only bytes that are sent as they are. *on_progress* gets bytes that
    the gateway has or that are on their way, and bytes in all, from another thread.

    Raises `SourceNotFound`, `ContentMismatch` for a file that changes meanwhile, `TransferConflict` when the gateway
    has the beginning of other bytes, `TransferOver`, `LinkExpired`, `LinkInvalid`, `TransferNotFound`, `TooLarge` and
    `TransferRefused` for what the gateway answers, `GatewayUnavailable` when nothing has moved for *patience_seconds*.
    """
    loop = asyncio.get_running_loop()
    session = Session(url, token, renew_token=from_thread(loop, renew_token), patience_seconds=patience_seconds)
    work = _Upload(session, declared or Declared(), on_progress)
    return await in_thread_of_its_own(lambda: work.run(source, recipients, state), session)


@dataclass
class _Upload:
    """One call's work, in a thread."""

    session: Session
    declared: Declared
    on_progress: Progress | None
    requests: Requests = field(init=False)
    bytes_sent: int = 0
    sent_to: int = 0

    def __post_init__(self) -> None:
        self.requests = Requests(self.session)

    def run(self, path: Path, recipients: Sequence[Recipient] | None, state: Path | None) -> Uploaded:
        source = Source(path)
        try:
            if recipients is None:
                return self._send(PlainFile(source), source, is_new=False)
            if state is None:
                return self._send(
                    SealedFile(source, new_seal(self.session.bare_url, source, recipients)), source, is_new=True
                )
            return self._send_with_state(SealState(state), source, recipients)
        finally:
            self.session.close()
            source.close()

    def _send_with_state(self, kept: SealState, source: Source, recipients: Sequence[Recipient]) -> Uploaded:
        done = False
        try:
            seal = kept.load(self.session.bare_url, source)
            is_new = seal is None
            if seal is None:
                seal = new_seal(self.session.bare_url, source, recipients)
                kept.save(seal)
            sent = self._send(SealedFile(source, seal), source, is_new=is_new)
            done = True
            return sent
        except (TransferConflict, TransferOver):
            done = True  # no later call can go on with this key
            raise
        finally:
            kept.close(done=done)

    def _send(self, outgoing: OutgoingFile, source: Source, *, is_new: bool) -> Uploaded:
        try:
            offset = self._begin(outgoing, source, is_new=is_new)
            while True:
                if is_new and offset > self.sent_to:
                    raise TransferConflict(
                        "the gateway has the beginning of this file, sealed with a key that is not here; send it as a "
                        "new transfer"
                    )
                self._show(offset, outgoing.size)
                if offset >= outgoing.size:
                    break
                offset = self._advance(outgoing, offset)
        except TransferOver:
            # The answer to the last PATCH may have been lost.
            transfer = self._status()
            if transfer.get("state") != "completed":
                raise
        else:
            transfer = self._status()
        if transfer.get("state") == "failed":
            raise TransferRefused(f"the gateway has refused the file: {transfer.get('error')}")
        return Uploaded(size=outgoing.size, bytes_sent=self.bytes_sent, transfer=transfer)

    def _advance(self, outgoing: OutgoingFile, offset: int) -> int:
        """Send from *offset* on, once; return how many bytes the gateway then has."""
        reached = self._patch(outgoing, offset)
        if reached == offset:
            self.requests.failed("the gateway has taken nothing")
        if reached is None or reached == offset:
            reached = self._offset()
        if reached > offset:
            self.requests.patience.progressed()
            self.session.worked()
        return reached

    def _begin(self, outgoing: OutgoingFile, source: Source, *, is_new: bool) -> int:
        """Declare the upload if no earlier call has; return how many bytes the gateway has."""
        if not is_new:
            # Declared again, an upload begins again at byte 0.
            with suppress(TransferNotFound):
                return self._offset(outgoing.size)
        return self._create(outgoing, source)

    def _create(self, outgoing: OutgoingFile, source: Source) -> int:
        """Declare the upload, and return how many bytes the gateway has."""
        declared = self.declared
        if isinstance(outgoing, SealedFile) and declared.content_size is None:
            declared = replace(declared, content_size=source.size)
        headers = {**_TUS, "Content-Length": "0", "Upload-Length": str(outgoing.size)}
        if metadata := declared.as_metadata():
            headers["Upload-Metadata"] = metadata
        while True:
            try:
                answer = self.requests.head("POST", headers)
            except TransferConflict:
                return self._offset(outgoing.size)  # it was declared, and otherwise
            if answer is not None:
                self.requests.drain(answer)
                return _offset_in(answer.headers.get("Upload-Offset", "0"))

    def _offset(self, expected_length: int | None = None) -> int:
        """Return how many bytes the gateway has. Raises `TransferConflict` for an upload of another length."""
        while True:
            answer = self.requests.head("HEAD", _TUS)
            if answer is None:
                continue
            self.requests.drain(answer)
            length = answer.headers.get("Upload-Length")
            if expected_length is not None and length is not None and length != str(expected_length):
                raise TransferConflict(
                    f"the gateway waits for a file of {length} bytes, and this one has {expected_length}; send it as a "
                    "new transfer"
                )
            return _offset_in(answer.headers.get("Upload-Offset", ""))

    def _patch(self, outgoing: OutgoingFile, offset: int) -> int | None:
        """Send all bytes from *offset* on; return how many the gateway then has, None if that is not known."""
        connection = self.requests.connection
        token = self.session.token
        headers = {
            **_TUS,
            **self.session.headers(),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(outgoing.size - offset),
            "Upload-Offset": str(offset),
        }
        try:
            connection.begin("PATCH", headers)
            whole = self._write(outgoing, offset, connection)
            connection.wait_longer(_LAST_ANSWER_SECONDS)
            answer = connection.answer()
            with suppress(TransferConflict):  # another offset: HEAD says which
                if self.requests.accept(answer, token):
                    reached = _offset_in(answer.headers.get("Upload-Offset", ""))
                    self.requests.drain(answer)
                    if not whole:
                        connection.close()  # the rest of the body would be read as the next request
                    return reached
        except FAILURES as exc:
            self.requests.failed(exc)
            return None
        return None

    def _write(self, outgoing: OutgoingFile, offset: int, connection: Connection) -> bool:
        """Write the body; return whether all of it was written before the gateway answered."""
        for piece in prefetch(outgoing.pieces(offset)):
            if self.session.stopped.is_set():
                raise WorkStopped
            if connection.has_answer():
                return False
            offset += len(piece)
            # Before: of a piece that breaks off, a part may arrive.
            self.sent_to = max(self.sent_to, offset)
            connection.write(piece)
            self.bytes_sent += len(piece)
            self._show(offset, outgoing.size)
        return True

    def _status(self) -> dict[str, Any]:
        """Return the transfer as the gateway has it; nothing where it does not say."""
        url, patience = address_of(self.session.url, "status"), self.session.patience_seconds
        asking = Session(url, self.session.token, renew_token=None, patience_seconds=patience)
        requests = Requests(asking)
        try:
            answer = None
            while answer is None:
                answer = requests.head("GET", {})
            found: Any = json.loads(answer.read(_MAX_STATUS_BYTES))
        except (*FAILURES, WaybillError, ValueError):
            return {}
        finally:
            asking.close()
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def _show(self, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, total)


def _offset_in(text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise TransferRefused("the gateway does not say how much of the file it has: is this the address of an upload?")
    return int(text)
