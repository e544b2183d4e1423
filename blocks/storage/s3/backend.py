"""Blobs in a bucket of an S3 server, below a prefix.

The request that completes an upload (`upload`) makes the blob visible in one step, and only when its object key is
free: it carries ``If-None-Match: *``, so of several writers exactly one wins. Nothing is cached.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from blocks.content_disposition import content_disposition
from blocks.errors import BlobMissing, InvalidSettings, StorageUnavailable, UnsafeKey
from blocks.storage.backend import (
    CHUNK_BYTES,
    PROBE_PATH,
    Blob,
    Digest,
    Expected,
    StoredObject,
    blob_missing,
    path_taken,
)
from blocks.storage.blob_path import MAX_PATH_BYTES, check_blob_path, is_blob_path
from blocks.storage.s3.connection import RetryLimits, S3Connection
from blocks.storage.s3.deletion import delete_keys
from blocks.storage.s3.failure import S3Failure
from blocks.storage.s3.partial import S3Partial
from blocks.storage.s3.reader import S3Reader
from blocks.storage.s3.unfinished import abort_uploads, server_time, unfinished_uploads
from blocks.storage.s3.upload import ObjectExists, S3Upload

# The longest object key that S3 accepts, in bytes of UTF-8.
_MAX_OBJECT_KEY_BYTES = 1024
# The longest lifetime of a presigned URL that S3 accepts.
_MAX_PRESIGNED = timedelta(days=7)


class S3Backend:
    """A bucket, or a prefix in it, as a `Backend`. The bucket must exist."""

    # A request to a server far away takes a tenth of a second.
    threads = 64

    def __init__(self, url: str, options: dict[str, Any], *, limits: RetryLimits | None = None) -> None:
        """Make no call yet. Raises `InvalidSettings` for a URL without a bucket and options that s3fs refuses."""
        self._bucket, self._prefix = _bucket_and_prefix(url)
        self._connection = S3Connection(options, limits or RetryLimits())

    def publish(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        expected: Expected | None = None,
        replace: bool = False,
        sync_folder: bool = True,
    ) -> Blob:
        """See `Backend.publish`. From 12 GiB on, an object whose size is not declared may need more memory."""
        del sync_folder  # the request that makes an object visible makes it durable
        object_key = self._object_key(path)
        digest = Digest(expected)
        total = expected.size if expected else None
        with self._translated(f"store {path}", digest):
            upload = S3Upload(self._connection, self._bucket, object_key, exclusive=not replace, total=total)
            try:
                for chunk in digest.through(chunks):
                    upload.write(chunk)
                upload.commit()
            except BaseException as exc:
                if not upload.discard():
                    exc.add_note("the bytes already sent could not be taken back and stay until they are swept")
                if isinstance(exc, ObjectExists):
                    raise path_taken(path) from exc
                raise
        return digest.blob

    def sync_folders(self, paths: Iterable[str]) -> None:
        """See `Backend.sync_folders`."""

    def open(self, path: str) -> BinaryIO:
        """See `Backend.open`. Holds at most 17 MiB of the object."""
        where = self._where(path)
        with self._translated(f"read {path}", missing=path):
            raw = S3Reader(self._connection, where, path)
        return cast("BinaryIO", io.BufferedReader(raw, CHUNK_BYTES))

    def size(self, path: str) -> int:
        """See `Backend.size`."""
        where = self._where(path)
        with self._translated(f"look at {path}", missing=path):
            return int(self._connection.call("head_object", **where)["ContentLength"])

    def delete(self, path: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again."""
        where = self._where(path)
        if interrupted:
            self.abort(path)
        with self._translated(f"delete {path}"):
            try:
                self._connection.call("head_object", **where)
            except S3Failure as failure:
                if failure.missing:
                    return False
                raise
            self._connection.call("delete_object", **where)
        return True

    def delete_many(self, paths: Sequence[str]) -> dict[str, str]:
        """See `Backend.delete_many`: up to 1,000 in a request."""
        failed: dict[str, str] = {}
        path_of: dict[str, str] = {}
        for path in paths:
            try:
                path_of[self._object_key(path)] = path
            except UnsafeKey as error:
                failed[path] = error.message
        with self._translated("delete blobs"):
            for object_key, reason in delete_keys(self._connection, self._bucket, list(path_of)).items():
                path = path_of[object_key]
                failed[path] = f"cannot delete {path}: {reason}"
        return failed

    def abort(self, path: str, *, older_than: timedelta = timedelta(0)) -> int:
        """See `Backend.abort`: its multipart uploads."""
        object_key = self._object_key(path)
        with self._translated(f"clear up after {path}"):
            return abort_uploads(self._connection, self._bucket, object_key, older_than=older_than)

    def paths(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.paths`."""
        return (path for path, _, _ in self._listed(prefix))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Backend.objects`."""
        for path, entry, now in self._listed(prefix):
            modified_at: datetime = entry["LastModified"]
            # Servers report whole seconds: what was stored just now may seem to be from the future.
            yield StoredObject(path, int(entry["Size"]), modified_at, max(timedelta(0), now - modified_at))

    def _listed(self, prefix: str) -> Iterator[tuple[str, dict[str, Any], datetime]]:
        """Yield path, entry, and the time of the server, of every blob below the folder *prefix*."""
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._folder(prefix)}
        with self._translated(f"list {prefix or 'the storage'}"):
            while True:
                page = self._connection.call("list_objects_v2", **request)
                now = server_time(page)
                for entry in page.get("Contents", ()):
                    path = entry["Key"][len(self._prefix) :]
                    if is_blob_path(path):
                        yield path, entry, now
                if not page.get("IsTruncated"):
                    return
                request["ContinuationToken"] = page["NextContinuationToken"]

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """See `Backend.leftovers`: paths of multipart uploads neither completed nor aborted. MinIO lists an upload only
        when *prefix* is its whole object key."""
        start = self._folder(prefix)
        with self._translated(f"list {prefix or 'the storage'}"):
            for upload in unfinished_uploads(self._connection, self._bucket, start, older_than=older_than):
                path = upload["Key"][len(self._prefix) :]
                if is_blob_path(path):
                    yield path

    def partial(self, path: str, *, scratch: Path, size: int) -> S3Partial:
        """See `Backend.partial`: a multipart upload."""
        return S3Partial(
            self._connection, self._where(path), path, scratch=scratch, size=size, translated=self._translated
        )

    def probe(self) -> None:
        """See `Backend.probe`. Reads, because a HEAD of an object does not show whether its bucket exists."""
        with suppress(BlobMissing):
            self.open(PROBE_PATH).close()

    def locate(self, path: str) -> str:
        """Return the URL of the stored bytes."""
        return f"s3://{self._bucket}/{self._object_key(path)}"

    def presign(self, path: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """See `Backend.presign`. A URL lasts 7 days at most, and no longer than the credentials it is signed with.

        None where a plain GET would fail: without credentials, or with a customer-provided encryption key (SSE-C).
        """
        where = self._where(path)
        if self._connection.anonymous or "SSECustomerKey" in self._connection.additional:
            return None
        seconds = int(min(expires_in, _MAX_PRESIGNED).total_seconds())
        with self._translated(f"sign a link to {path}"):
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

    def _where(self, path: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._object_key(path)}

    def _object_key(self, path: str) -> str:
        check_blob_path(path)
        return f"{self._prefix}{path}"

    @contextmanager
    def _translated(self, action: str, digest: Digest | None = None, *, missing: str | None = None) -> Generator[None]:
        try:
            yield
        except S3Failure as failure:
            if missing is not None and failure.missing:
                raise blob_missing(action, missing) from failure
            error = failure.as_error(action)
            raise type(error)("; ".join([error.message, *getattr(failure, "__notes__", ())])) from failure
        except (KeyError, ValueError) as exc:
            if digest is not None and exc is digest.source_error:
                raise
            raise StorageUnavailable(f"cannot {action}: the S3 server sent a malformed answer") from exc


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    """Return bucket and prefix of *url*; the prefix is empty or ends with a slash."""
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
    limit = _MAX_OBJECT_KEY_BYTES - MAX_PATH_BYTES - 1
    if len(prefix.encode()) > limit:
        raise InvalidSettings(f"the prefix in the storage URL has {len(prefix.encode())} bytes; {limit} at most fit")
    return bucket, f"{prefix}/"
