"""Sources on S3: list keys and read objects, with keys as plain text.

Uses the calls of the S3 storage, so that failures mean the same, and an object that is replaced while it is read is
never mixed with its successor. Only a pattern that a person gave is a pattern: nothing that a listing found is taken
apart again. Credentials and endpoint are those of AWS's usual places, or of fsspec's configuration.
"""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from fsspec.config import conf  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import BlobMissing, InvalidOptions, Permanent, SourceNotFound, WaybillError
from blocks.redaction import without_password
from blocks.storage import CHUNK_BYTES
from blocks.storage.s3.connection import RetryLimits, S3Connection
from blocks.storage.s3.failure import S3Failure
from blocks.storage.s3.reader import S3Reader
from tasks.sources import failure
from tasks.sources.glob import is_glob
from tasks.sources.markers import without_markers

RETRY_LIMITS = RetryLimits()


class _Object(NamedTuple):
    """What a list says of an object. *version* differs when it is replaced."""

    size: int
    version: str


class S3Sources:
    """The buckets that the credentials of this process can read. Safe in several threads."""

    def __init__(self) -> None:
        """Raises `InvalidSettings` for options that s3fs does not take."""
        given: dict[str, Any] = {}
        for scheme in ("s3", "s3a"):
            given |= conf.get(scheme, {})
        self._connection = S3Connection(given, RETRY_LIMITS)

    def sizes(self, url: str) -> dict[str, int | None] | None:
        """Return the keys below a folder, or that match a glob, with their sizes in bytes; None for a single object.

        Hidden keys are left out. Raises what `read` raises.
        """
        bucket, key = split_url(url)
        if is_glob(key) and not self._exists(bucket, key, url):
            return _sizes(self._matching(bucket, "", key.rstrip("/").split("/"), url))
        if not key or key.endswith("/"):
            return _sizes(self._below(bucket, key, url))
        try:
            return _sizes(self._below(bucket, f"{key}/", url)) or None
        except Permanent:  # credentials may read an object and not list; reading shows what is wrong otherwise
            return None

    def versions(self, url: str) -> dict[str, str]:
        """Return the keys of documents below a folder, or that match a glob, or the object's own, with their versions.

        Empty where there is nothing yet. Raises what `read` raises; `SourceNotFound` for a bucket that is not there.
        """
        bucket, key = split_url(url)
        if is_glob(key) and not self._exists(bucket, key, url):
            found = dict(self._matching(bucket, "", key.rstrip("/").split("/"), url))
        else:
            found = dict(self._below(bucket, f"{key.rstrip('/')}/" if key else "", url))
            if key and not key.endswith("/"):
                found |= {name: entry for name, entry in self._page(bucket, key, "/", url) if name == key}
        objects = {name: entry for name, entry in found.items() if entry is not None}
        documents = without_markers({name: entry.size for name, entry in objects.items()})
        return {name: objects[name].version for name in documents}

    def open(self, url: str, key: str | None = None) -> BinaryIO:
        """Return an object as a seekable file, by its URL or by a *key* that a listing of the URL's bucket has found.

        Opening and reading raise `SourceNotFound`, `InvalidSettings` and other refusals of the server, and
        `StorageUnavailable` for what may pass.
        """
        bucket, named = split_url(url)
        where = {"Bucket": bucket, "Key": named if key is None else key}
        if not where["Key"]:
            raise SourceNotFound(f"there is nothing at {url}: it names a bucket and no key")
        try:
            return io.BufferedReader(S3Reader(self._connection, where, url), CHUNK_BYTES)
        except S3Failure as exc:
            raise _error(exc, url) from exc

    def read(self, url: str, key: str | None = None) -> Iterator[bytes]:
        """Yield the content of an object in pieces. Raises what `open` raises."""
        with self.open(url, key) as stream:
            try:
                while piece := stream.read(CHUNK_BYTES):
                    yield piece
            except BlobMissing as exc:
                raise failure.missing(url) from exc

    def _exists(self, bucket: str, key: str, url: str) -> bool:
        try:
            self._connection.call("head_object", Bucket=bucket, Key=key)
        except S3Failure as exc:
            if exc.missing or exc.status == 403:  # 403: the credentials may list, but not look at a key
                return False
            raise _error(exc, url) from exc
        return True

    def _matching(self, bucket: str, folder: str, parts: list[str], url: str) -> Iterator[tuple[str, _Object | None]]:
        """Yield what matches the pattern *parts* below *folder*: objects, and everything below matching folders."""
        first, rest = parts[0], parts[1:]
        if not is_glob(first):
            name = folder + first
            if rest:
                yield from self._matching(bucket, f"{name}/", rest, url)
            elif first:
                yield from ((key, found) for key, found in self._page(bucket, name, "/", url) if key == name)
                yield from self._below(bucket, f"{name}/", url)
            return
        if first == "**":
            if not rest:
                yield from self._below(bucket, folder, url)
                return
            yield from self._matching(bucket, folder, rest, url)
            rest = parts
        for name, found in list(self._page(bucket, folder, "/", url)):
            last = name[len(folder) :].removesuffix("/")
            is_folder = found is None
            matches = (first == "**" and is_folder) or fnmatch.fnmatchcase(last, first)
            if name == folder or not matches or (last.startswith(".") and not first.startswith(".")):
                continue
            if not is_folder:
                if not rest:
                    yield name, found
            elif rest:
                yield from self._matching(bucket, name, rest, url)
            else:
                yield from self._below(bucket, name, url)

    def _below(self, bucket: str, folder: str, url: str) -> Iterator[tuple[str, _Object | None]]:
        for key, found in self._page(bucket, folder, "", url):
            if not any(part.startswith(".") for part in key[len(folder) :].split("/")):
                yield key, found

    def _page(self, bucket: str, prefix: str, delimiter: str, url: str) -> Iterator[tuple[str, _Object | None]]:
        """Yield keys with what the list says of them; with a delimiter also folders (which end with it), with None."""
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        if delimiter:
            request["Delimiter"] = delimiter
        while True:
            try:
                page = self._connection.call("list_objects_v2", **request)
            except S3Failure as exc:
                raise _error(exc, url) from exc
            for entry in page.get("Contents", ()):
                yield entry["Key"], _Object(int(entry["Size"]), f"{entry.get('ETag', '')} {entry['Size']}")
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"], None
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]


def _sizes(found: Iterator[tuple[str, _Object | None]]) -> dict[str, int | None]:
    return {key: entry.size for key, entry in found if entry is not None}


def split_url(url: str) -> tuple[str, str]:
    """Return bucket and key, both as they are written. Raises `InvalidOptions` for a URL without a bucket.

    Also for one with a user name or password: it would be in every message about the file, and opens nothing.
    """
    bucket, _, key = url.partition("://")[2].partition("/")
    if "@" in bucket:
        raise InvalidOptions(
            f"{without_password(url)}: an S3 URL has no user name and password; write s3://BUCKET/KEY, and give the "
            "credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or where else AWS's programs look for them"
        )
    if not bucket or is_glob(bucket):
        raise InvalidOptions(f"{url!r} names no bucket; write s3://BUCKET/KEY")
    return bucket, key


def _error(exc: S3Failure, url: str) -> WaybillError:
    if exc.missing:
        return failure.missing(url)
    if exc.code == "NoSuchBucket":
        return SourceNotFound(f"there is nothing at {url}: there is no such bucket")
    return exc.as_error(f"read {url}")
