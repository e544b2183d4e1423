"""Find and abort multipart uploads that were neither completed nor aborted: invisible, but paid for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from blocks.storage.s3.connection import RetryLimits, S3Connection
from blocks.storage.s3.failure import S3Failure


def unfinished_uploads(
    connection: S3Connection,
    bucket: str,
    prefix: str,
    *,
    older_than: timedelta = timedelta(0),
    limits: RetryLimits | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield Key and UploadId of every unfinished upload whose object key begins with *prefix*. Raises `S3Failure`."""
    # Keys that XML cannot hold would make the whole list unreadable; botocore decodes other lists by itself.
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "EncodingType": "url"}
    while True:
        page = connection.call("list_multipart_uploads", limits=limits, **request)
        uploads, now = page.get("Uploads", ()), server_time(page)
        for entry in uploads:
            # Servers report whole seconds: an upload begun just now may seem to be from the future.
            if not older_than or now - entry["Initiated"] >= older_than:
                yield {"Key": unquote(entry["Key"]), "UploadId": entry["UploadId"]}
        if not page.get("IsTruncated") or not uploads:
            return
        # Swift leaves the markers empty when a page holds one upload.
        request["KeyMarker"] = unquote(page.get("NextKeyMarker") or uploads[-1]["Key"])
        request["UploadIdMarker"] = page.get("NextUploadIdMarker") or uploads[-1]["UploadId"]


def abort_uploads(
    connection: S3Connection,
    bucket: str,
    object_key: str,
    *,
    older_than: timedelta = timedelta(0),
    limits: RetryLimits | None = None,
) -> int:
    """Abort the unfinished uploads of exactly *object_key*; return how many there were. Raises `S3Failure`."""
    aborted = 0
    for upload in unfinished_uploads(connection, bucket, object_key, older_than=older_than, limits=limits):
        if upload["Key"] == object_key:
            try:
                connection.call("abort_multipart_upload", limits=limits, Bucket=bucket, **upload)
            except S3Failure as failure:
                if not failure.upload_gone:  # else another process has aborted it
                    raise
            aborted += 1
    return aborted


def server_time(answer: dict[str, Any]) -> datetime:
    """Return the time of the server's clock, which ages are measured by: ours may be wrong."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return datetime.now(UTC)
