"""Blobs in a bucket of an S3 server, below a prefix.

A blob becomes visible whole, in one step, by the request that completes it (`blocks.storage.s3.upload`), and only when
its name is free: that request carries ``If-None-Match: *``, so of several writers exactly one wins. Nothing is cached:
every question is answered by the server. Refuses names outside of the prefix.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, cast

from blocks.content_disposition import content_disposition
from blocks.errors import BlobMissing, InvalidSettings, KeyExists, StorageUnavailable, UnsafeKey
from blocks.storage.backend import CHUNK_BYTES, PROBE_PATH, Blob, Digest, Expected
from blocks.storage.blob_path import MAX_PATH_BYTES, check_blob_path, is_blob_path
from blocks.storage.s3.connection import RetryLimits, S3Connection
from blocks.storage.s3.failure import S3Failure
from blocks.storage.s3.reader import S3Reader
from blocks.storage.s3.unfinished import abort_uploads, unfinished_uploads
from blocks.storage.s3.upload import ObjectExists, S3Upload

# The longest name that S3 takes, in bytes of UTF-8.
_MAX_NAME_BYTES = 1024
# The longest time that S3 lets a presigned URL live.
_MAX_PRESIGNED = timedelta(days=7)


class S3Backend:
    """A bucket, or what lies below a prefix in it, as a `Backend`. The bucket must exist."""

    def __init__(self, url: str, options: dict[str, Any], *, limits: RetryLimits | None = None) -> None:
        """Make no call yet. Raises `InvalidSettings` for a URL without a bucket and options that s3fs does not take."""
        self._bucket, self._prefix = _place(url)
        self._connection = S3Connection(options, limits or RetryLimits())

    def publish(
        self, key: str, chunks: Iterable[bytes], *, expected: Expected | None = None, replace: bool = False
    ) -> Blob:
        """See `Backend.publish`. An object of unknown size may need more memory than one whose size is declared, from
        12 GiB on."""
        name = self._name(key)
        digest = Digest(expected)
        total = expected.size if expected else None
        with self._translated(f"store {key}", digest):
            upload = S3Upload(self._connection, self._bucket, name, exclusive=not replace, total=total)
            try:
                for chunk in digest.through(chunks):
                    upload.write(chunk)
                upload.commit()
            except BaseException as exc:
                if not upload.discard():
                    exc.add_note("what was sent could not be taken back and stays until it is swept")
                if isinstance(exc, ObjectExists):
                    raise _taken(key) from exc
                raise
        return digest.blob

    def open(self, key: str) -> BinaryIO:
        """See `Backend.open`. Holds at most 17 MiB of the object."""
        where = self._where(key)
        with self._translated(f"read {key}", missing=key):
            raw = S3Reader(self._connection, where, key)
        return cast("BinaryIO", io.BufferedReader(raw, CHUNK_BYTES))

    def size(self, key: str) -> int:
        """See `Backend.size`."""
        where = self._where(key)
        with self._translated(f"look at {key}", missing=key):
            return int(self._connection.call("head_object", **where)["ContentLength"])

    def delete(self, key: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again."""
        where = self._where(key)
        if interrupted:
            self.abort(key)
        with self._translated(f"delete {key}"):
            try:
                self._connection.call("head_object", **where)
            except S3Failure as failure:
                if failure.missing:
                    return False
                raise
            self._connection.call("delete_object", **where)
        return True

    def abort(self, key: str, *, older_than: timedelta = timedelta(0)) -> int:
        """See `Backend.abort`: its multipart uploads."""
        name = self._name(key)
        with self._translated(f"clear up after {key}"):
            return abort_uploads(self._connection, self._bucket, name, older_than=older_than)

    def paths(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.paths`."""
        place: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._folder(prefix)}
        with self._translated(f"list {prefix or 'the storage'}"):
            while True:
                page = self._connection.call("list_objects_v2", **place)
                for entry in page.get("Contents", ()):
                    key = entry["Key"][len(self._prefix) :]
                    if is_blob_path(key):
                        yield key
                if not page.get("IsTruncated"):
                    return
                place["ContinuationToken"] = page["NextContinuationToken"]

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """See `Backend.leftovers`: the keys of multipart uploads that were neither completed nor aborted. MinIO tells
        of them only to those who name the key."""
        start = self._folder(prefix)
        with self._translated(f"list {prefix or 'the storage'}"):
            for upload in unfinished_uploads(self._connection, self._bucket, start, older_than=older_than):
                key = upload["Key"][len(self._prefix) :]
                if is_blob_path(key):
                    yield key

    def probe(self) -> None:
        """See `Backend.probe`. By reading: the answer to a question about an object says nothing of its bucket."""
        with suppress(BlobMissing):
            self.open(PROBE_PATH).close()

    def locate(self, key: str) -> str:
        """The URL of the stored bytes."""
        return f"s3://{self._bucket}/{self._name(key)}"

    def presign(self, key: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """See `Backend.presign`. S3 lets no URL live for more than 7 days; one signed with temporary credentials ends
        with them. None where a plain GET would not do: without credentials, or with a key of the customer's own."""
        where = self._where(key)
        if self._connection.anonymous or "SSECustomerKey" in self._connection.additional:
            return None
        seconds = int(min(expires_in, _MAX_PRESIGNED).total_seconds())
        with self._translated(f"sign a link to {key}"):
            return self._connection.presigned(
                "get_object",
                max(1, seconds),
                **where,
                ResponseContentDisposition=content_disposition(filename),
                ResponseContentType=media_type,
            )

    def _folder(self, prefix: str) -> str:
        return (
            self._prefix + "".join(f"{segment}/" for segment in check_blob_path(prefix.rstrip("/")))
            if prefix
            else self._prefix
        )

    def _where(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._name(key)}

    def _name(self, key: str) -> str:
        check_blob_path(key)
        return f"{self._prefix}{key}"

    @contextmanager
    def _translated(self, action: str, digest: Digest | None = None, *, missing: str | None = None) -> Generator[None]:
        try:
            yield
        except S3Failure as failure:
            if missing is not None and failure.missing:
                raise BlobMissing(f"cannot {action}: there is no such blob", key=missing) from failure
            error = failure.told(action)
            raise type(error)("; ".join([error.message, *getattr(failure, "__notes__", ())])) from failure
        except (KeyError, ValueError) as exc:
            if digest is not None and exc is digest.source_error:
                raise
            raise StorageUnavailable(f"cannot {action}: the S3 server gave an answer that makes no sense") from exc


def _place(url: str) -> tuple[str, str]:
    """Bucket and prefix of *url*; the prefix is empty or ends with a slash."""
    bucket, _, path = url.split("://", 1)[1].partition("/")
    prefix = path.strip("/")
    if not bucket or "@" in bucket:
        raise InvalidSettings("the storage URL is s3://BUCKET/PREFIX; credentials belong in the storage options")
    if not prefix:
        return bucket, ""
    try:
        check_blob_path(prefix)
    except UnsafeKey as exc:
        raise InvalidSettings(f"the prefix in the storage URL cannot be used: {exc}") from exc
    room = _MAX_NAME_BYTES - MAX_PATH_BYTES - 1
    if len(prefix.encode()) > room:
        raise InvalidSettings(
            f"the prefix in the storage URL has {len(prefix.encode())} bytes; S3 leaves {room} for it"
        )
    return bucket, f"{prefix}/"


def _taken(key: str) -> KeyExists:
    return KeyExists(f"the storage key {key} is taken; keys are never used twice", key=key)
