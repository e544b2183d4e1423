"""Resumable writes to S3: a multipart upload that lives as long as it takes.

Parts that the server has are durable. What is less than a part yet waits in a file of this machine (`TailFile`), named
by where it begins; so does each part until the server has it. A process on another machine sees the parts alone, and
goes on after them. All parts but the last have one size, which follows from that of the whole. Clients may also send
parts to the server themselves (`SentInParts`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from blocks.errors import InvalidOptions, StorageUnavailable, TransferConflict
from blocks.storage.backend import path_taken
from blocks.storage.partial import PresignedPart, SentPart, wrong_offset, wrong_size
from blocks.storage.partial_spooled import TailFile, scratch_name
from blocks.storage.s3.connection import Body, S3Connection
from blocks.storage.s3.failure import S3Failure
from blocks.storage.s3.unfinished import abort_uploads, unfinished_uploads
from blocks.storage.s3.upload import IN_FLIGHT_BYTES, WRITE_MARK, part_size

# Marks the object of a resumable write, which any process may have finished; other writers' marks are random.
_MARK = "resumable-upload"
_READ_BYTES = 1024 * 1024

Translated = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class _ServerPart:
    etag: str
    size: int


class S3Partial:
    """See `PartialBlob` and `SentInParts`. *where* is the bucket and the object key; *translated* raises our errors."""

    def __init__(
        self,
        connection: S3Connection,
        where: Mapping[str, Any],
        path: str,
        *,
        scratch: Path,
        size: int,
        translated: Translated,
    ) -> None:
        self._connection, self._where, self._path = connection, dict(where), path
        self._scratch, self._size, self._translated = scratch, size, translated
        self._part_size = part_size(1, size)
        self._upload_id: str | None = None
        self._is_published = False
        # Of the writer: where the bytes end, the part that is being filled, and those that are being sent.
        self._end: int | None = None
        self._body = Body()
        self._tail: TailFile | None = None
        self._sending: deque[tuple[Future[dict[str, Any]], TailFile]] = deque()

    # PartialBlob ------------------------------------------------------------------------------------------------------

    def offset(self) -> int:
        """See `PartialBlob.offset`."""
        with self._translated(f"look at the upload of {self._path}"):
            return self._find_end()

    def append(self, offset: int, chunks: Iterable[bytes]) -> int:
        """See `PartialBlob.append`. Holds two parts in memory, of 12 MiB up to 117 GiB."""
        if self._end is None:
            self._begin_writing()
        end = self._end
        if end is None or end != offset:
            raise wrong_offset(offset, end or 0)
        for chunk in chunks:
            self._end = end = self._add(chunk, end)
        return end

    def read(self) -> BinaryIO | None:
        """Return None: a part can be read only when the upload is complete."""
        return None

    def finish(self, size: int) -> None:
        """See `PartialBlob.finish`."""
        with self._translated(f"store {self._path}"):
            if (offset := self._find_end()) != size:
                raise wrong_size(size, offset)
            if not self._is_published:
                self._send_rest()
                self._complete(self._server_parts())
                self._is_published = True
            self._remove_tails()

    def discard(self) -> None:
        """See `PartialBlob.discard`."""
        self.close()
        with self._translated(f"clear up after {self._path}"):
            abort_uploads(self._connection, self._where["Bucket"], self._where["Key"])
            self._upload_id = None
            self._remove_tails()

    def close(self) -> None:
        """See `PartialBlob.close`. Waits for the parts that are being sent."""
        while self._sending:
            future, tail = self._sending.popleft()
            tail.close()
            if future.exception() is None:
                tail.remove()
        if self._tail is not None:
            self._tail.close()
        self._tail, self._end, self._body = None, None, Body()

    # SentInParts ------------------------------------------------------------------------------------------------------

    def part_count(self) -> int:
        """See `SentInParts.part_count`."""
        return max(1, -(-self._size // self._part_size))

    def presigned(self, numbers: Sequence[int], *, expires_in: timedelta) -> list[PresignedPart] | None:
        """See `SentInParts.presigned`. Raises `InvalidOptions` for a number that no part has."""
        if wrong := [number for number in numbers if not 1 <= number <= self.part_count()]:
            raise InvalidOptions(f"parts are numbered from 1 to {self.part_count()}; there is no part {wrong[0]}")
        if self._connection.anonymous or "SSECustomerKey" in self._connection.additional:
            return None
        with self._translated(f"sign links to the upload of {self._path}"):
            upload = self._require_upload()
            seconds = max(1, int(expires_in.total_seconds()))
            return [
                PresignedPart(
                    number=number,
                    # The length is signed: what is too long is refused by the server.
                    url=self._connection.presigned(
                        "upload_part", seconds, **upload, PartNumber=number, ContentLength=self._size_of(number)
                    ),
                    offset=(number - 1) * self._part_size,
                    size=self._size_of(number),
                )
                for number in numbers
            ]

    def check_parts(self, sent: Sequence[SentPart]) -> None:
        """See `SentInParts.check_parts`."""
        with self._translated(f"look at the upload of {self._path}"):
            parts = self._server_parts()
        for part in sent:
            found = parts.get(part.number)
            if found is None or found.etag.strip('"') != part.etag.strip('"'):
                raise TransferConflict(f"the storage does not have part {part.number} with this ETag; send it again")
        for number in range(1, self.part_count() + 1):
            found = parts.get(number)
            if found is None or found.size != self._size_of(number):
                has = "is missing" if found is None else f"has {found.size} bytes, not {self._size_of(number)}"
                raise TransferConflict(f"part {number} {has}; send it again")

    # Writing ----------------------------------------------------------------------------------------------------------

    def _begin_writing(self) -> None:
        with self._translated(f"look at the upload of {self._path}"):
            self._end = self._find_end()
            if self._is_published:
                return
            self._require_upload()
            # Whole parts that a process before this one did not get to send, then the beginning of the next.
            start = self._end_of_parts()
            while start < self._end:
                tail = self._tail_at(start)
                with tail.open() as stream:
                    while piece := stream.read(_READ_BYTES):
                        self._body.write(piece)
                self._tail = tail
                start += self._body.tell()
                if self._body.tell() == self._size_of(self._number_of(start - 1)) and start < self._size:
                    self._send()

    def _add(self, chunk: bytes, end: int) -> int:
        view = memoryview(chunk)
        while view:
            if self._tail is None:
                self._tail = self._tail_at(end)
            place = self._body.tell()
            taken = view[: self._part_size - place]
            self._tail.write(taken, place)
            self._body.write(taken)
            view, end = view[len(taken) :], end + len(taken)
            if self._body.tell() == self._part_size and end < self._size:
                self._end = end
                with self._translated(f"store {self._path}"):
                    self._send()
        return end

    def _send(self) -> None:
        """Send the part that has been filled, while the next one is."""
        assert self._tail is not None and self._end is not None  # noqa: S101 - a part was filled
        number = self._number_of_tail(self._tail)
        body, tail = self._body, self._tail
        self._body, self._tail = Body(), None
        upload = self._require_upload()
        self._sending.append((self._connection.start("upload_part", **upload, PartNumber=number, Body=body), tail))
        while len(self._sending) > max(1, IN_FLIGHT_BYTES // self._part_size):
            self._take_result()

    def _take_result(self) -> None:
        future, tail = self._sending[0]
        try:
            future.result()
        except BaseException:
            self.close()  # the file stays, and is sent by the next request
            raise
        self._sending.popleft()
        tail.remove()

    def _send_rest(self) -> None:
        """Have everything that waits here sent."""
        if self._end is None:
            self._begin_writing()
        if self._tail is not None and self._body.tell():
            self._send()
        while self._sending:
            self._take_result()

    # What the server has ----------------------------------------------------------------------------------------------

    def _find_end(self) -> int:
        """Return where the durable bytes end: parts of the server, then files of this machine without a gap."""
        self._upload_id = None
        end = self._end_of_parts()
        if self._upload_id is None:
            size = self._published_size()
            self._is_published = size is not None
            return size or 0
        while end < self._size and (size := self._tail_at(end).size()):
            end += size
            if size < self._part_size:
                break
        return end

    def _end_of_parts(self) -> int:
        parts, end = self._server_parts(), 0
        for number in range(1, self.part_count() + 1):
            found = parts.get(number)
            if found is None or found.size != self._size_of(number):
                break
            end += found.size
        return end

    def _server_parts(self) -> dict[int, _ServerPart]:
        upload = self._find_upload()
        parts: dict[int, _ServerPart] = {}
        request: dict[str, Any] = {}
        while upload is not None:
            page = self._connection.call("list_parts", **upload, **request)
            for part in page.get("Parts", ()):
                parts[part["PartNumber"]] = _ServerPart(part["ETag"], part["Size"])
            if not page.get("IsTruncated") or not page.get("NextPartNumberMarker"):
                break
            request["PartNumberMarker"] = page["NextPartNumberMarker"]
        return parts

    def _find_upload(self) -> dict[str, Any] | None:
        """Return the multipart upload of this write. When an answer was lost there are several, and one is chosen."""
        if self._upload_id is None:
            found = unfinished_uploads(self._connection, self._where["Bucket"], self._where["Key"])
            ids = sorted(upload["UploadId"] for upload in found if upload["Key"] == self._where["Key"])
            self._upload_id = ids[0] if ids else None
        return {**self._where, "UploadId": self._upload_id} if self._upload_id is not None else None

    def _require_upload(self) -> dict[str, Any]:
        upload = self._find_upload()
        if upload is None:
            metadata = {**self._connection.additional.get("Metadata", {}), WRITE_MARK: _MARK}
            self._connection.call("create_multipart_upload", **self._where, Metadata=metadata)
            upload = self._find_upload()
        if upload is None:
            raise StorageUnavailable(f"the S3 server does not list the upload of {self._path}, which has just begun")
        return upload

    def _published_size(self) -> int | None:
        try:
            head = self._connection.call("head_object", **self._where)
        except S3Failure as failure:
            if failure.missing:
                return None
            raise
        return int(head["ContentLength"]) if self._is_ours(head) else None

    def _complete(self, parts: Mapping[int, _ServerPart]) -> None:
        """Make the object visible. An answer that was lost is asked for again. Raises `KeyExists`."""
        try:
            if not self._size:
                metadata = {**self._connection.additional.get("Metadata", {}), WRITE_MARK: _MARK}
                self._connection.call("put_object", **self._where, Metadata=metadata, IfNoneMatch="*", Body=Body())
            else:
                self._connection.call(
                    "complete_multipart_upload",
                    limits=self._connection.limits.for_completion,
                    **self._require_upload(),
                    IfNoneMatch="*",
                    MultipartUpload={
                        "Parts": [
                            {"PartNumber": number, "ETag": parts[number].etag}
                            for number in range(1, self.part_count() + 1)
                        ]
                    },
                    MpuObjectSize=self._size,
                )
        except S3Failure as failure:
            if not (failure.condition_failed or failure.upload_gone):
                raise
            if self._published_size() is None:
                if failure.condition_failed:
                    raise path_taken(self._path) from failure
                raise
        if (found := self._published_size()) != self._size:
            raise (
                path_taken(self._path)
                if found is None
                else StorageUnavailable(f"the S3 server holds {found} bytes where {self._size} were sent; start again")
            )

    def _is_ours(self, head: Mapping[str, Any]) -> bool:
        return head.get("Metadata", {}).get(WRITE_MARK) == _MARK

    # Parts and their files --------------------------------------------------------------------------------------------

    def _size_of(self, number: int) -> int:
        return min(self._part_size, self._size - (number - 1) * self._part_size)

    def _number_of(self, position: int) -> int:
        return position // self._part_size + 1

    def _tail_at(self, start: int) -> TailFile:
        """Return the file of what waits from *start* on. Of this upload: one that was discarded is never taken up."""
        upload = scratch_name(self._upload_id or "")
        return TailFile(self._scratch, f"{scratch_name(self._path)}.{upload}.{start}.tail")

    def _number_of_tail(self, tail: TailFile) -> int:
        return self._number_of(int(tail.path.name.split(".")[2]))

    def _remove_tails(self) -> None:
        for file in self._scratch.glob(f"{scratch_name(self._path)}.*.tail"):
            TailFile(self._scratch, file.name).remove()
