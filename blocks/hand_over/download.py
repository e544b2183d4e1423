"""Fetch the file of a transfer: resumed wherever it breaks off, authenticated chunk by chunk, whole or not at all.

The content is decrypted as it arrives and written straight to its place, so a resumed download asks for what is missing
and nothing else. What is in the partial file has been authenticated; at the end size and sha256 are compared as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from blocks.age.file_key import TAG_BYTES
from blocks.age.header import header_length, malformed_header, parse_header
from blocks.age.recipients import Identity, open_header
from blocks.age.stream import NONCE_BYTES
from blocks.errors import AuthenticationFailed, ContentMismatch, InvalidOptions, MalformedAgeFile, WaybillError
from blocks.hand_over.connection import Session
from blocks.hand_over.control import report_received
from blocks.hand_over.fetching import Fetching, Progress
from blocks.hand_over.layout import Layout
from blocks.hand_over.own_thread import RenewToken, from_thread, in_thread_of_its_own
from blocks.hand_over.partial_file import Offer, PartialFile, boot_id
from blocks.hand_over.patience import DEFAULT_PATIENCE_SECONDS
from blocks.hand_over.ranges import Described, RangeReader, SourceChanged

MAX_RANGES = 16
# Of several ranges, the first request asks for this much: the header, and a first part for the first connection.
FIRST_RANGE_BYTES = 16 << 20
# How often the bytes behind an address may turn out to be others before it is given up.
_MOST_STARTS = 3
_HEADER_PIECE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A file that has arrived: its path, and size and sha256 of what is in it. `bytes_received` is this process's."""

    path: Path
    size: int
    sha256: str
    bytes_received: int


async def download(
    client: httpx.AsyncClient,
    url: str,
    token: str | None,
    target: Path,
    *,
    identities: Sequence[Identity] | None,
    expected_sha256: str | None = None,
    expected_size: int | None = None,
    on_progress: Progress | None = None,
    ranges: int = 1,
    renew_token: RenewToken | None = None,
    replace: bool = True,
    durable: bool = False,
    patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
) -> Downloaded:
    """Fetch what *url* serves into *target* (0600), which appears whole or not at all, and report it as received.

    The same call continues what an earlier one, or a killed process, has left next to *target*. *identities* open it;
    None keeps it encrypted, and then the sha256 is that of the encrypted bytes. *ranges* are fetched at the same time.
    *on_progress* gets bytes done and bytes in all, of the content, from another thread. *durable* syncs to disk.

    Raises `NoMatchingIdentity`, `AuthenticationFailed`, `MalformedAgeFile` and `ContentMismatch` for a file that is
    not what was promised (nothing of it stays), `TransferOver`, `LinkExpired`, `LinkInvalid`, `TransferNotFound` and
    `TransferRefused` for what the gateway answers, `GatewayUnavailable` when nothing has moved for *patience_seconds*,
    `InvalidOptions` where *target* is taken, `StorageFull` and `TargetUnwritable`.
    """
    if not 1 <= ranges <= MAX_RANGES:
        raise InvalidOptions(f"a file is fetched in 1 to {MAX_RANGES} ranges at once, not {ranges}")
    loop = asyncio.get_running_loop()
    session = Session(url, token, renew_token=from_thread(loop, renew_token), patience_seconds=patience_seconds)
    work = _Download(session, target, identities, expected_sha256, expected_size, on_progress, ranges)
    try:
        done = await in_thread_of_its_own(lambda: work.run(replace=replace, durable=durable), session)
    except ContentMismatch:
        if identities is not None and work.found is not None:
            # The sender learns of it. It is refused here even where the gateway cannot be notified.
            with suppress(WaybillError):
                await report_received(client, session, *work.found)
        raise
    if identities is not None:
        await report_received(client, session, done.sha256, done.size)
    return done


class _Download:
    """One call's work, in threads. `found` is sha256 and size of what has arrived, once that is known."""

    def __init__(
        self,
        session: Session,
        target: Path,
        identities: Sequence[Identity] | None,
        expected_sha256: str | None,
        expected_size: int | None,
        on_progress: Progress | None,
        ranges: int,
    ) -> None:
        self._session = session
        self._target = target
        self._identities = identities
        self._expected_sha256 = expected_sha256.lower() if expected_sha256 else None
        self._expected_size = expected_size
        self._on_progress = on_progress
        self._ranges = ranges
        self.found: tuple[str, int] | None = None

    def run(self, *, replace: bool, durable: bool) -> Downloaded:
        partial = PartialFile(self._target)
        try:
            fetching = self._fetch(partial)
            digest, size = fetching.sha256, fetching.layout.content_size
            partial.publish(replace=replace, durable=durable)
            return Downloaded(path=self._target, size=size, sha256=digest, bytes_received=fetching.bytes_received)
        except (AuthenticationFailed, ContentMismatch, MalformedAgeFile):
            partial.discard()
            raise
        finally:
            self._session.close()
            partial.close()

    def _fetch(self, partial: PartialFile) -> Fetching:
        """Fetch all that is missing; every byte is compared in the end."""
        resumed: Offer | None = None
        for start in range(_MOST_STARTS):
            self._session.restart()
            try:
                resumed = (
                    None
                    if start
                    else partial.load(self._session.bare_url, hash_known=self._expected_sha256 is not None)
                )
                if resumed is not None and bool(resumed.header) != (self._identities is not None):
                    resumed = None
                reader, offer = self._begin(partial, resumed)
                fetching = self._fetch_all(partial, offer, reader)
                self._compare(fetching, offer)
                return fetching
            except SourceChanged:
                continue
            except ContentMismatch:
                if resumed is None:
                    raise
                # What an earlier process has left may have been damaged since, by a power cut for one.
        raise ContentMismatch(
            f"the bytes behind the link have changed {_MOST_STARTS} times while they were fetched; ask for a new link"
        )

    def _begin(self, partial: PartialFile, resumed: Offer | None) -> tuple[RangeReader, Offer]:
        if resumed is not None:
            known = Described(resumed.total, resumed.etag, resumed.content_size, resumed.content_sha256)
            return RangeReader(self._session, known), resumed
        reader = RangeReader(self._session)
        reader.start(0, FIRST_RANGE_BYTES if self._ranges > 1 else None)
        described = reader.describe()
        header, nonce = _read_beginning(reader) if self._identities is not None else (b"", b"")
        offer = Offer(
            url=self._session.bare_url,
            etag=described.etag,
            total=described.total,
            content_size=described.content_size,
            content_sha256=described.content_sha256,
            header=header.hex(),
            nonce=nonce.hex(),
            boot=boot_id(),
        )
        self._compare_size(offer.layout, offer)
        # Before anything is written: a file sealed for another recipient is of no use here.
        if self._identities is not None:
            open_header(parse_header(header), self._identities)
        partial.begin(offer)
        return reader, offer

    def _fetch_all(self, partial: PartialFile, offer: Offer, reader: RangeReader) -> Fetching:
        key = None
        if self._identities is not None:
            key = open_header(parse_header(bytes.fromhex(offer.header)), self._identities), bytes.fromhex(offer.nonce)
        fetching = Fetching(self._session, partial, offer.layout, key, on_progress=self._on_progress)
        fetching.run(reader, self._ranges)
        return fetching

    def _compare(self, fetching: Fetching, offer: Offer) -> None:
        self.found = fetching.sha256, fetching.layout.content_size
        declared = offer.content_sha256 if self._identities is not None else None
        for expected in (self._expected_sha256, declared):
            if expected is not None and expected != fetching.sha256:
                raise ContentMismatch(
                    f"{self._target.name} is not the file that was sent: expected sha256 {expected} and got "
                    f"{fetching.sha256}; ask the sender for a new link",
                    expected=expected,
                    found=fetching.sha256,
                )

    def _compare_size(self, layout: Layout, offer: Offer) -> None:
        declared = offer.content_size if self._identities is not None else None
        for expected in (self._expected_size, declared):
            if expected is not None and expected != layout.content_size:
                raise ContentMismatch(
                    f"{self._target.name} is not the file that was sent: expected {expected} bytes and got "
                    f"{layout.content_size}; ask the sender for a new link",
                    expected=expected,
                    found=layout.content_size,
                )


def _read_beginning(reader: RangeReader) -> tuple[bytes, bytes]:
    """Return header and nonce of the sealed file; *reader* goes on with its first chunk."""
    beginning, room = bytearray(), memoryview(bytearray(_HEADER_PIECE_BYTES))
    length: int | None = None
    while length is None or len(beginning) < length + NONCE_BYTES + TAG_BYTES:
        count = reader.fill(room)
        if not count:
            raise malformed_header("the file ends before its first chunk does")
        beginning += room[:count]
        length = length or header_length(beginning, searched=len(beginning) - count)
    end = length + NONCE_BYTES
    reader.take_back(bytes(beginning[end:]))
    return bytes(beginning[:length]), bytes(beginning[length:end])
