"""Multipart uploads that were neither completed nor aborted: invisible, and paid for."""

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
    start: str,
    *,
    older_than: timedelta = timedelta(0),
    limits: RetryLimits | None = None,
) -> Iterator[dict[str, Any]]:
    """Key and UploadId of every unfinished upload whose name begins with *start*. Raises `S3Failure`."""
    # Names that XML cannot hold would make the whole list unreadable; botocore decodes other lists by itself.
    place: dict[str, Any] = {"Bucket": bucket, "Prefix": start, "EncodingType": "url"}
    while True:
        page = connection.call("list_multipart_uploads", limits=limits, **place)
        uploads, now = page.get("Uploads", ()), _server_time(page)
        for entry in uploads:
            # Servers tell whole seconds: what was begun just now may seem to come from the future.
            if not older_than or now - entry["Initiated"] >= older_than:
                yield {"Key": unquote(entry["Key"]), "UploadId": entry["UploadId"]}
        if not page.get("IsTruncated") or not uploads:
            return
        # Swift leaves the markers empty when a page holds one upload.
        place["KeyMarker"] = unquote(page.get("NextKeyMarker") or uploads[-1]["Key"])
        place["UploadIdMarker"] = page.get("NextUploadIdMarker") or uploads[-1]["UploadId"]


def abort_uploads(
    connection: S3Connection,
    bucket: str,
    name: str,
    *,
    older_than: timedelta = timedelta(0),
    limits: RetryLimits | None = None,
) -> int:
    """Abort the unfinished uploads of exactly *name*; returns how many there were. Raises `S3Failure`."""
    aborted = 0
    for upload in unfinished_uploads(connection, bucket, name, older_than=older_than, limits=limits):
        if upload["Key"] == name:
            try:
                connection.call("abort_multipart_upload", limits=limits, Bucket=bucket, **upload)
            except S3Failure as failure:
                if not failure.upload_gone:  # else somebody was quicker
                    raise
            aborted += 1
    return aborted


def _server_time(answer: dict[str, Any]) -> datetime:
    """The server's clock, by which ages count; ours may be wrong."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return datetime.now(UTC)
