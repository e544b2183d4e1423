"""Sources behind URLs: the files that a URL stands for, and reading one of them.

Chooses what reads a place: HTTP, S3, or a driver of fsspec; an archive is opened from the place that it is in. One
`SourceReader` serves one run: it keeps connections, and each archive open, until it is closed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import unquote

from blocks.errors import InvalidOptions, Permanent, SourceNotFound, TooLarge, Transient
from blocks.redaction import without_password
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from tasks.sources import driver_source, http_source
from tasks.sources.access import SourceAccess
from tasks.sources.glob import is_glob
from tasks.sources.local_files import check as check_local
from tasks.sources.local_files import local_path, open_file, path_text, read_file
from tasks.sources.location import Location, taken_apart
from tasks.sources.markers import without_markers

if TYPE_CHECKING:
    import httpx

    from tasks.sources.s3_source import S3Sources

# The files with their sizes in bytes, None for a source that is a file itself, and the URL of each.
_Listing = tuple[dict[str, int | None] | None, Callable[[str], str]]

_HTTP = ("http", "https")
_S3 = ("s3", "s3a")
_OBJECT_STORES = ("gs", "gcs", "az", "abfs", "abfss", "adl", "oss")
# Before a listing that failed is repeated. Reading is repeated by the run's tasks; a listing has none.
_LISTING_PAUSES_SECONDS = (1.0, 5.0)


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL. `key` is its name as a listing has found it, None for one that the URL itself names."""

    url: str
    location: Location
    key: str | None = None

    @property
    def name(self) -> str:
        """The last part of the file's path; a URL's query and host are no part of it."""
        if self.key is not None:
            path = self.key
        elif self.location.archives:
            path = self.location.archives[0].path
        elif self.location.scheme in _HTTP:
            path = web_path(self.location.place)
        else:
            path = self.location.place.partition("://")[2]
        return PurePosixPath(path).name


def web_path(url: str) -> str:
    """Return the decoded path of an HTTP or file URL, also of one that is not well formed."""
    return unquote(url.partition("://")[2].partition("#")[0].partition("?")[0].partition("/")[2])


@dataclass(frozen=True)
class _Archive:
    filesystem: Any
    # Of the members only one can be read at a time: they share a file position.
    lock: Lock


class SourceReader:
    """What a run reads sources with: the places that are permitted, and the connections. Safe in several threads."""

    def __init__(self, access: SourceAccess, *, scratch: Path, max_file_bytes: int) -> None:
        """Archives that cannot be read in place are copied to *scratch*, up to *max_file_bytes* each."""
        self.access = access
        self.scratch = scratch
        self._max_file_bytes = max_file_bytes
        self._open = ExitStack()
        self._archives: dict[str, _Archive] = {}
        self._drivers: dict[str, Any] = {}
        # Reentrant: an archive can be in another one.
        self._lock = RLock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return a reader with these settings."""
        return cls(SourceAccess.of(settings), scratch=settings.scratch, max_file_bytes=settings.max_file_mib * 2**20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archives.clear()
        self._drivers.clear()
        self._open.close()

    def check(self, source: str) -> Location:
        """Return the parts of *source*. Raises `SourceRefused` when it is not permitted, `InvalidOptions`."""
        location = taken_apart(source)
        if location.scheme in {"file", "local"}:
            check_local(location.place, self.access)
        else:
            self.access.check_url(_plain_beginning(location))
        return location

    def listed(self, source: str) -> Iterable[RemoteFile]:
        """Return every file that *source* stands for: itself, or a folder's or glob's files in name order.

        Raises `InvalidOptions` for a URL without a driver, `SourceNotFound` when a folder or glob holds no file, and
        what reading raises.
        """
        location = self.check(source)
        itself = [RemoteFile(source, location)]
        if not location.archives and location.scheme in (*_HTTP, "file", "local"):
            return itself
        try:
            sizes, url_of = self._patiently(source, location)
        except (InvalidOptions, Transient):
            raise
        except Permanent:
            if is_glob(location.archives[0].path if location.archives else location.place):
                raise
            return itself  # reading it fails by itself
        if sizes is None:
            return itself
        keys = without_markers(sizes)
        if not keys:
            raise SourceNotFound(f"{without_password(source)!r} has no files")
        return (RemoteFile(url_of(key), location, key) for key in keys)

    def versions(self, source: str) -> tuple[dict[str, str], bool]:
        """Return the URL of every file that *source* stands for with what differs when the file changes.

        Also whether a file appears whole there, and never grows: object stores and HTTP. Raises what `listed` raises,
        and `InvalidOptions` for what cannot be watched, such as an archive.
        """
        location = self.check(source)
        shown, place = without_password(source), location.place
        if location.archives or location.scheme in {"file", "local"}:
            raise InvalidOptions(f"{shown} cannot be watched: watch the folder or bucket that archives are put into")
        if location.scheme in _HTTP:
            return {source: http_source.version(self._http, place, self.access)}, True
        if location.scheme in _S3:
            bucket = "/".join(place.split("/", 3)[:3])
            found = self._s3.versions(place)
            return {f"{location.head}{bucket}/{key}": version for key, version in found.items()}, True
        at = driver_source.place_of(place)
        with self._connected(at, shown) as filesystem:
            found = driver_source.versions(filesystem, at.path, shown)
            urls = {
                location.head + driver_source.url_of(key, place, at.path, filesystem): version
                for key, version in found.items()
            }
        return urls, location.scheme in _OBJECT_STORES

    def read(self, file: RemoteFile) -> Iterator[bytes]:
        """Yield the content of a file in pieces, as the server sends it.

        Raises `SourceNotFound` and other permanent errors for what will fail again, `SourceRefused` for what is not
        permitted, and `StorageUnavailable` for what may pass or changed while it was read.
        """
        shown = without_password(file.url)
        location = file.location
        if location.archives:
            archive = self._archive(location, shown)
            with archive.lock:
                yield from driver_source.read_member(archive.filesystem, file.key or location.archives[0].path, shown)
            return
        yield from self._place(file)

    def _place(self, file: RemoteFile) -> Iterator[bytes]:
        """Yield the content of a file that is in no archive."""
        location, shown = file.location, without_password(file.url)
        if (local := path_text(location.place)) is not None:
            stream, opened = open_file(local_path(local), shown, self.access)
            with stream:
                yield from read_file(stream, opened, shown)
            return
        if location.scheme in _HTTP:
            yield from http_source.read(self._http, location.place, self.access)
            return
        self.access.check_url(file.url[len(location.head) :])
        if location.scheme in _S3:
            yield from self._s3.read(location.place, file.key)
            return
        place = driver_source.place_of(location.place)
        with self._connected(place, shown) as filesystem:
            yield from driver_source.read(filesystem, place.path if file.key is None else file.key, shown)

    @contextmanager
    def _connected(self, place: driver_source.Place, shown: str) -> Generator[Any]:
        """Yield the driver for *place*, connected once a run. After a failure that may pass it is replaced."""
        with self._lock:
            filesystem = self._drivers.get(place.key)
            if filesystem is None:
                filesystem = self._drivers[place.key] = place.connect(shown)
        try:
            yield filesystem
        except Transient:
            with self._lock:
                if self._drivers.get(place.key) is filesystem:
                    del self._drivers[place.key]
            raise

    def _patiently(self, source: str, location: Location) -> _Listing:
        for pause in _LISTING_PAUSES_SECONDS:
            try:
                return self._listing(source, location)
            except Transient:
                time.sleep(pause)
        return self._listing(source, location)

    def _listing(self, source: str, location: Location) -> _Listing:
        """Return the files with their sizes, None when there is only the source itself, and how to write their URLs."""
        shown, place = without_password(source), location.place
        if location.archives:
            archive = self._archive(location, shown)
            with archive.lock:
                return driver_source.sizes(archive.filesystem, location.archives[0].path, shown), location.url_of
        if location.scheme in _S3:
            bucket = "/".join(place.split("/", 3)[:3])
            return self._s3.sizes(place), lambda key: f"{location.head}{bucket}/{key}"
        at = driver_source.place_of(place)
        with self._connected(at, shown) as filesystem:
            sizes = driver_source.sizes(filesystem, at.path, shown)
        return sizes, lambda key: location.head + driver_source.url_of(key, place, at.path, filesystem)

    def _archive(self, location: Location, shown: str) -> _Archive:
        """Return the outermost archive of a chain; each is opened once a run, with what is around it."""
        outermost = location.archives[0]
        with self._lock:
            known = self._archives.get(outermost.tail)
            if known is None:
                stream = self._seekable(location.behind, shown)
                self._open.callback(stream.close)
                filesystem = driver_source.open_archive(outermost.scheme, stream, shown)
                known = self._archives[outermost.tail] = _Archive(filesystem, Lock())
        return known

    def _seekable(self, location: Location, shown: str) -> BinaryIO:
        """Return the file at *location* as a stream that can seek: itself, or a copy without a name."""
        if not location.archives and (local := path_text(location.place)) is not None:
            return open_file(local_path(local), shown, self.access)[0]
        if not location.archives and location.scheme in _S3:
            return self._s3.open(location.place)
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy = cast("BinaryIO", tempfile.TemporaryFile(dir=self.scratch))  # noqa: SIM115 - closed with the run
        try:
            size = 0
            with write_errors(f"a copy of {shown} in {self.scratch}"):  # errors of the source are translated already
                for piece in self.read(RemoteFile(location.place, location)):
                    size += len(piece)
                    if size > self._max_file_bytes:
                        raise TooLarge(
                            f"the archive {shown} is larger than {self._max_file_bytes // 2**20} MiB; "
                            "raise WAYBILL_MAX_FILE_MIB to allow it"
                        )
                    copy.write(piece)
                copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy

    @cached_property
    def _http(self) -> httpx.Client:
        client = http_source.new_client()
        self._open.callback(client.close)
        return client

    @cached_property
    def _s3(self) -> S3Sources:
        from tasks.sources.s3_source import S3Sources  # s3fs takes half a second to import

        return S3Sources()


def _plain_beginning(location: Location) -> str:
    """Return the place, or of a glob the folder that its wildcards begin in: all that is listed is below it."""
    place = location.place
    if location.archives or location.scheme in _HTTP or not is_glob(place):
        return place
    return place[: min(place.find(char) % (len(place) + 1) for char in "*?[")].rpartition("/")[0] + "/"
