"""Sources that a driver of fsspec reads: SFTP, FTP, other object stores, and archives.

Owns opening the driver for one place, and listing it. Paths are given to the driver as they are: a URL is taken apart
once, and what a listing has found is never made into a URL again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec import AbstractFileSystem  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidOptions, StorageUnavailable, Transient, WaybillError
from blocks.storage import read_chunks
from tasks.sources import failure
from tasks.sources.glob import is_glob

# Their drivers take "?" and "#" of a path for a query and a fragment.
_PLAIN_PATHS = ("sftp", "ssh", "ftp")
# The first bytes of a compressed tar archive; its name may say something else, or nothing.
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
_LONGEST_MAGIC = 6
# What drivers call the time of a file's last change, and what object stores give each content.
_CHANGES = (
    "etag",
    "ETag",
    "mtime",
    "modify",
    "modified",
    "last_modified",
    "LastModified",
    "updated",
    "md5Hash",
    "Content-MD5",
)


@dataclass(frozen=True)
class Place:
    """Where a URL leads: a driver, the options that the URL gives it, and a path in it."""

    driver: Any
    options: dict[str, Any]
    path: str

    @property
    def key(self) -> str:
        """The same for all URLs that one connection serves."""
        return f"{self.driver.__name__} {sorted(self.options.items(), key=str)}"

    def connect(self, shown: str) -> Any:
        """Return the driver with a connection of its own. Raises what `failure.of_driver` returns."""
        try:
            # Not from fsspec's cache of instances, which keeps one whose connection has ended.
            return self.driver(**self.options, skip_instance_cache=True)
        except Exception as exc:
            raise failure.of_driver(exc, shown) from exc


def place_of(url: str) -> Place:
    """Take *url* apart. Raises `InvalidOptions` for a URL without a driver."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    host, _, path = rest.partition("/")
    try:
        driver = cast("Any", fsspec.get_filesystem_class(scheme))  # pyright: ignore[reportUnknownMemberType]
        if scheme in _PLAIN_PATHS:
            return Place(driver, dict(driver._get_kwargs_from_urls(f"{scheme}://{host}/")), f"/{path}")
        return Place(driver, dict(driver._get_kwargs_from_urls(url)), str(driver._strip_protocol(url)))
    except (ValueError, TypeError, ImportError) as exc:
        raise InvalidOptions(f"no driver opens {scheme}:// sources, or the driver does not accept this URL") from exc


def open_archive(scheme: str, stream: BinaryIO, shown: str) -> Any:
    """Return the driver for an archive that is open as *stream*. Raises `SourceNotFound` when it is damaged."""
    options: dict[str, Any] = {}
    if scheme == "tar":
        magic = stream.read(_LONGEST_MAGIC)
        stream.seek(0)
        # Else the driver guesses from the stream's name, which can be a number.
        cast("Any", stream).original = "archive"
        options["compression"] = next((name for start, name in _COMPRESSIONS if magic.startswith(start)), None)
    try:
        driver = cast("Any", fsspec.get_filesystem_class(scheme))  # pyright: ignore[reportUnknownMemberType]
        return driver(fo=stream, skip_instance_cache=True, **options)
    except ImportError as exc:
        raise InvalidOptions(f"no driver opens {scheme}:// sources") from exc
    except WaybillError:
        raise
    except Exception as exc:
        raise failure.lasting(shown, f"it is no sound {scheme} archive ({type(exc).__name__})") from exc


def sizes(filesystem: Any, path: str, shown: str) -> dict[str, int | None] | None:
    """Return the paths of a folder's or a glob's files with their sizes in bytes; None when *path* is neither.

    Hidden files are left out. Raises what `failure.of_driver` returns.
    """
    try:
        # A name that exists is itself, even when it looks like a glob.
        kind = _kind(filesystem, path)
        if kind is None and is_glob(path):
            return _matching(filesystem, path)
        return _below(filesystem, path) if kind == "directory" else None
    except Exception as exc:
        raise failure.of_driver(exc, shown) from exc


def versions(filesystem: Any, path: str, shown: str) -> dict[str, str]:
    """Return the paths of a folder's or a glob's files, or of the file *path*, with what differs when one changes.

    Raises what `failure.of_driver` returns, and `InvalidOptions` where the driver says nothing but the size.
    """
    try:
        kind = _kind(filesystem, path)
        if kind is None and is_glob(path):
            found = list(_matching(filesystem, path))
        elif kind == "directory":
            found = list(_below(filesystem, path))
        else:
            found = [path]
        return {name: _version(filesystem.info(name), shown) for name in found}
    except InvalidOptions:
        raise
    except Exception as exc:
        raise failure.of_driver(exc, shown) from exc


def _version(entry: dict[str, Any], shown: str) -> str:
    said = {name: str(entry[name]) for name in _CHANGES if entry.get(name)}
    if not said:
        raise InvalidOptions(f"{shown} cannot be watched: its server gives files neither an ETag nor a time of change")
    return " ".join([*(f"{name}={value}" for name, value in said.items()), str(entry.get("size"))])


def read_member(archive: Any, path: str, shown: str) -> Iterator[bytes]:
    """Yield the content of a file in an archive in pieces. Raises `SourceNotFound` also for what cannot be unpacked."""
    try:
        yield from read(archive, path, shown)
    except StorageUnavailable as error:
        if isinstance(error.__cause__, (OSError, WaybillError)):  # of the place that the archive is in
            raise
        raise failure.lasting(shown, "it is damaged, needs a password, or is a link") from error


def read(filesystem: Any, path: str, shown: str) -> Iterator[bytes]:
    """Yield the content of a file in pieces. Raises `StorageUnavailable` when it is not as long as the driver says."""
    size = 0
    try:
        with cast("BinaryIO", filesystem.open(path, "rb")) as stream:
            for chunk in read_chunks(stream):
                size += len(chunk)
                yield chunk
        said = filesystem.info(path).get("size")
    except Exception as exc:
        raise failure.of_driver(exc, shown) from exc
    if isinstance(said, int) and said != size:
        raise failure.passing(shown, "it was cut, or changed while it was read")


def _kind(filesystem: Any, path: str) -> str | None:
    """Return ``file``, ``directory`` or None. The driver's `exists` and `isdir` say no whatever has failed."""
    try:
        return str(filesystem.info(path)["type"])
    except FileNotFoundError:
        return None


def _strictly(filesystem: Any) -> dict[str, Any]:
    """Return the option with which a failure that may pass ends a walk; by default fsspec leaves the folder out."""

    def on_error(exc: Exception) -> None:
        if isinstance(failure.of_driver(exc, ""), Transient):
            raise exc

    walks = cast("Any", type(filesystem)).find is cast("Any", AbstractFileSystem).find  # others list in one call
    return {"on_error": on_error} if walks else {}


def _matching(filesystem: Any, pattern: str) -> dict[str, int | None]:
    entries = cast("dict[str, dict[str, Any]]", filesystem.glob(pattern, detail=True, **_strictly(filesystem)))
    found: dict[str, int | None] = {}
    for name, entry in entries.items():
        if name.rstrip("/").rsplit("/", 1)[-1].startswith("."):
            continue
        found |= _below(filesystem, name) if entry["type"] == "directory" else {name: entry.get("size")}
    return found


def _below(filesystem: Any, folder: str) -> dict[str, int | None]:
    entries = cast("dict[str, dict[str, Any]]", filesystem.find(folder, detail=True, **_strictly(filesystem)))
    return {
        name: entry.get("size")
        for name, entry in entries.items()
        if name.rstrip("/") != folder.rstrip("/")
        and not any(part.startswith(".") for part in name[len(folder) :].split("/"))
    }


def url_of(found: str, url: str, path: str, filesystem: Any) -> str:
    """Return *url* with *found* in place of *path*: the driver's own URL of a file leaves out the host."""
    link = url.rstrip("/") if path else url
    for ending, tail in ((path, found), (path.lstrip("/"), found.lstrip("/"))):
        if link.endswith(ending):
            return link[: len(link) - len(ending)] + tail
    return str(filesystem.unstrip_protocol(found))
