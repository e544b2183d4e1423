"""Upload one object to S3: in a single request, or as a multipart upload with few parts in memory.

`write`, then `commit`; or `discard`, after which the server holds nothing of it. ADR 0009 says why this is not s3fs'
file object.

The object is not read back: S3 accepts a body only with the sha256 that its signature covers; the completion names
every part by the ETag that S3 returned; and the size of the whole is compared with S3's before the write succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from blocks.errors import StorageUnavailable
from blocks.storage.s3.connection import Body, S3Connection
from blocks.storage.s3.failure import S3Failure
from blocks.storage.s3.unfinished import abort_uploads

MIB = 1024 * 1024
# Smaller parts cost a request each, larger ones memory: with 12 MiB, 1 GiB to the test server takes about as long as
# with boto3, with 8 MiB a tenth longer. S3 accepts none under 5 MiB except the last.
PART_BYTES = 12 * MIB
# S3's limits: parts of an upload, bytes of a part.
MAX_PARTS = 10_000
MAX_PART_BYTES = 5 * 1024 * MIB
# Without a declared size, parts double after this many: the first 11.7 GiB go in parts of 12 MiB, and 10,000 parts hold
# more than the 5 TiB that S3 accepts. The largest parts are then 3 GiB: writers of that much should declare the size.
DOUBLE_AFTER_PARTS = 1000
# Parts being sent while the next is filled: two keep the connection to the server busy, and the three are 36 of the
# 64 MiB that a whole write, with reading, hashing and encrypting, may need.
IN_FLIGHT_BYTES = 24 * MIB
# Object metadata that names the write that made it, so that a write whose answer was lost can recognise its object.
WRITE_MARK = "waybill-write"
# Parts that arrive while an upload is aborted may survive (S3 documentation of AbortMultipartUpload): abort again.
_ABORTS = 5


class ObjectExists(Exception):
    """The object exists already (the conditional write failed)."""


def part_size(number: int, total: int | None) -> int:
    """Return the size in bytes of part *number* (from 1) of an object of *total* bytes, None where that is unknown."""
    if total is None:
        return min(PART_BYTES << (number - 1) // DOUBLE_AFTER_PARTS, MAX_PART_BYTES)
    needed = -(-total // MAX_PARTS)
    return max(PART_BYTES, -(-needed // MIB) * MIB)


class S3Upload:
    """One write, ended by `commit` or `discard`. After an error of `write` or `commit` the caller calls `discard`."""

    def __init__(
        self, connection: S3Connection, bucket: str, object_key: str, *, exclusive: bool, total: int | None = None
    ) -> None:
        self._connection = connection
        self._where: dict[str, Any] = {"Bucket": bucket, "Key": object_key}
        self._total = total
        self._mark = secrets.token_hex(16)
        metadata = {**connection.additional.get("Metadata", {}), WRITE_MARK: self._mark}
        self._object: dict[str, Any] = {**self._where, "Metadata": metadata}
        self._condition: dict[str, Any] = {"IfNoneMatch": "*"} if exclusive else {}
        self._upload: dict[str, Any] | None = None
        self._size = 0
        self._parts: dict[int, dict[str, Any]] = {}
        self._running: dict[Future[dict[str, Any]], tuple[int, Body]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle: list[Body] = []
        self._body = Body()
        self._room = part_size(1, total)
        self._sent = False  # the object may exist
        self._lost_uploads = False  # uploads may exist whose id was lost with an answer

    def write(self, chunk: bytes) -> None:
        """Add *chunk*; return when there is room for the next. Raises `S3Failure`."""
        view = memoryview(chunk)
        self._size += len(view)
        while view:
            if not self._room:
                self._send_part()
            taken = self._body.write(view[: self._room])
            self._room -= taken
            view = view[taken:]

    def commit(self) -> None:
        """Make the object visible. Raises `S3Failure`, `ObjectExists`, `StorageUnavailable`."""
        if self._upload is not None:
            self._send_part(last=True)
            while self._running:
                self._take_results()
        finish = self._put if self._upload is None else self._complete
        if self._condition:
            with _key_mutex().hold(f"{self._where['Bucket']}/{self._where['Key']}"):
                finish()
        else:
            finish()
        if self._lost_uploads:
            self._abort_lost()

    def discard(self) -> bool:
        """Remove everything sent; return whether that succeeded. Raises no `Exception`."""
        self._stop_parts()
        gone = True
        if self._upload is not None:
            gone = self._abort()
        if self._sent:
            gone = self._withdraw() and gone
        if self._lost_uploads:
            gone = self._abort_lost() and gone
        self._idle.clear()
        return gone

    # One request ------------------------------------------------------------------------------------------------------

    def _put(self) -> None:
        self._body.truncate()
        self._sent = True
        try:
            self._connection.call("put_object", **self._object, **self._condition, Body=self._body)
        except S3Failure as failure:
            self._explain(failure)

    # Several ----------------------------------------------------------------------------------------------------------

    def _send_part(self, *, last: bool = False) -> None:
        if self._upload is None:
            self._upload = self._begin()
        number = len(self._parts) + len(self._running) + 1
        body = self._body
        body.truncate()
        upload = self._upload
        future = self._connection.on_loop(lambda: self._part(upload, number, body))
        self._running[future] = (number, body)
        if last:
            return
        self._room = part_size(number + 1, self._total)
        while len(self._running) > max(1, IN_FLIGHT_BYTES // self._room) - (self._room > IN_FLIGHT_BYTES):
            self._take_results()
        self._body = self._idle.pop() if self._idle else Body()
        self._body.seek(0)

    def _begin(self) -> dict[str, Any]:
        self._lost_uploads = True
        try:
            answer = self._connection.call("create_multipart_upload", **self._object)
        except S3Failure as failure:
            self._lost_uploads = failure.transient or failure.attempts > 1  # else it was certainly refused
            raise
        self._lost_uploads = answer["ResponseMetadata"]["RetryAttempts"] > 0
        return {**self._where, "UploadId": answer["UploadId"]}

    async def _part(self, upload: dict[str, Any], number: int, body: Body) -> dict[str, Any]:
        sending = asyncio.ensure_future(
            self._connection.call_on_loop("upload_part", **upload, PartNumber=number, Body=body)
        )
        self._tasks.add(sending)
        sending.add_done_callback(self._tasks.discard)
        return await sending

    def _take_results(self) -> None:
        """Wait until at least one part has been sent. Raises `S3Failure` for one that failed."""
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            number, body = self._running.pop(future)
            answer = future.result()
            checksums = {name: value for name, value in answer.items() if name.startswith("Checksum") and value}
            self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], **checksums}
            self._idle.append(body)  # reused: freeing and allocating again fragments the memory

    def _complete(self) -> None:
        parts = [self._parts[number] for number in sorted(self._parts)]
        self._sent = True
        try:
            self._connection.call(
                "complete_multipart_upload",
                limits=self._connection.limits.for_completion,
                **(self._upload or {}),
                **self._condition,
                MultipartUpload={"Parts": parts},
                MpuObjectSize=self._size,
            )
        except S3Failure as failure:
            self._explain(failure)
        head = self._connection.call("head_object", **self._where)
        if self._condition and not self._made(head):
            self._sent = False
            raise ObjectExists
        if head["ContentLength"] != self._size:
            raise StorageUnavailable(
                f"the S3 server holds {head['ContentLength']} bytes where {self._size} were sent; start again"
            )
        self._upload = None

    # When something fails ---------------------------------------------------------------------------------------------

    def _explain(self, failure: S3Failure) -> None:
        """Return if the write succeeded all the same: its answer was lost, and the next attempt found its object.

        That attempt need not be ours: aiohttp repeats a PUT by itself when a kept-alive connection breaks.
        """
        if not (failure.condition_failed or failure.upload_gone):
            self._sent = failure.transient or failure.attempts > 1  # else it was certainly refused
            raise failure
        if self._is_there():
            return
        if failure.condition_failed:
            self._sent = False
            raise ObjectExists from failure
        raise failure

    def _is_there(self) -> bool:
        """Return whether the object exists and is of this write. Raises `S3Failure`."""
        try:
            head = self._connection.call("head_object", limits=self._connection.limits.for_cleanup, **self._where)
        except S3Failure as failure:
            if failure.missing:
                return False
            raise
        return self._made(head)

    def _made(self, head: dict[str, Any]) -> bool:
        return head.get("Metadata", {}).get(WRITE_MARK) == self._mark

    def _withdraw(self) -> bool:
        try:
            if self._is_there():
                self._clearing("delete_object")
        except S3Failure:
            return False
        return True

    def _stop_parts(self) -> None:
        async def stop() -> None:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

        with contextlib.suppress(Exception):
            self._connection.on_loop(stop).result()
        self._running.clear()

    def _abort(self) -> bool:
        """Abort until the server no longer knows the upload."""
        for _ in range(_ABORTS):
            try:
                self._clearing("abort_multipart_upload", **(self._upload or {}))
            except S3Failure as failure:
                return failure.upload_gone
            try:
                self._clearing("list_parts", **(self._upload or {}))
            except S3Failure:
                return True  # gone, or listing parts is not allowed; it was aborted
        return False

    def _abort_lost(self) -> bool:
        """Abort every upload of this object key. Another writer of it, if there is one, fails and may start again."""
        try:
            abort_uploads(
                self._connection,
                self._where["Bucket"],
                self._where["Key"],
                limits=self._connection.limits.for_cleanup,
            )
        except S3Failure:
            return False
        return True

    def _clearing(self, operation: str, **parameters: Any) -> None:
        limits = self._connection.limits.for_cleanup
        self._connection.call(operation, limits=limits, **{**self._where, **parameters})


class _KeyMutex:
    """A mutex per object key, without one object for each key ever used.

    S3 decides between two writers of one key. Some servers (Swift) check whether the key is free and write a moment
    later; this keeps the writers of one process out of that moment. Other processes are not kept out.
    """

    def __init__(self) -> None:
        self._released = threading.Condition()
        self._held: set[str] = set()

    @contextlib.contextmanager
    def hold(self, key: str) -> Generator[None]:
        """Wait until no other thread holds *key*, then hold it for the block."""
        with self._released:
            self._released.wait_for(lambda: key not in self._held)
            self._held.add(key)
        try:
            yield
        finally:
            with self._released:
                self._held.remove(key)
                self._released.notify_all()


# By process id: a lock that a thread of the parent held at a fork is never released in the child.
_mutexes: dict[int, _KeyMutex] = {}


def _key_mutex() -> _KeyMutex:
    """Return the mutex of this process."""
    return _mutexes.get(os.getpid()) or _mutexes.setdefault(os.getpid(), _KeyMutex())
