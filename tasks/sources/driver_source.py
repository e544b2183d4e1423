"""Sources that a driver of fsspec reads: SFTP, FTP, other object stores, and archives.

Owns opening the driver for one place, and listing it. Paths are given to the driver as they are: a URL is taken apart
once, and what a listing has found is never made into a URL again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidOptions, Transient, WaybillError
from blocks.redaction import without_password
from blocks.storage import read_chunks
from tasks.sources import failure
from tasks.sources.glob import is_glob

# Their drivers take "?" and "#" of a path for a query and a fragment.
_PLAIN_PATHS = ("sftp", "ssh", "ftp")
# The first bytes of a compressed tar archive; its name may say something else, or nothing.
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
_LONGEST_MAGIC = 6


def open_place(url: str) -> tuple[Any, str]:
    """Return the driver for *url*, connected, and the path in it.

    Raises `InvalidOptions` for a URL without a driver, and what `failure.of_driver` returns.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    host, _, path = rest.partition("/")
    try:
        driver = cast("Any", fsspec.get_filesystem_class(scheme))  # pyright: ignore[reportUnknownMemberType]
        place = f"{scheme}://{host}/" if scheme in _PLAIN_PATHS else url
        options = dict(driver._get_kwargs_from_urls(place))
        named = f"/{path}" if scheme in _PLAIN_PATHS else str(driver._strip_protocol(url))
    except (ValueError, TypeError, ImportError) as exc:
        raise InvalidOptions(f"no driver opens {scheme}:// sources, or the driver does not accept this URL") from exc
    try:
        return fsspec.filesystem(scheme, **options), named  # pyright: ignore[reportUnknownMemberType]
    except Exception as exc:
        raise failure.of_driver(exc, without_password(url)) from exc


def open_archive(scheme: str, stream: BinaryIO, shown: str) -> Any:
    """Return the driver for an archive that is open as *stream*. Raises `SourceNotFound` when it is damaged."""
    options: dict[str, Any] = {}
    if scheme == "tar":
        magic = stream.read(_LONGEST_MAGIC)
        stream.seek(0)
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
        if is_glob(path) and not filesystem.exists(path):
            return _matching(filesystem, path)
        return _below(filesystem, path) if filesystem.isdir(path) else None
    except Exception as exc:
        raise _failed(filesystem, exc, shown) from exc


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
        raise _failed(filesystem, exc, shown) from exc
    if isinstance(said, int) and said != size:
        raise failure.passing(shown, "it was cut, or changed while it was read")


def _failed(filesystem: Any, exc: Exception, shown: str) -> WaybillError:
    error = failure.of_driver(exc, shown)
    if isinstance(error, Transient):
        # fsspec keeps its drivers, also one whose connection has ended. A retry gets a fresh one.
        cast("Any", type(filesystem)).clear_instance_cache()
    return error


def _matching(filesystem: Any, pattern: str) -> dict[str, int | None]:
    entries = cast("dict[str, dict[str, Any]]", filesystem.glob(pattern, detail=True))
    found: dict[str, int | None] = {}
    for name, entry in entries.items():
        if name.rstrip("/").rsplit("/", 1)[-1].startswith("."):
            continue
        found |= _below(filesystem, name) if entry["type"] == "directory" else {name: entry.get("size")}
    return found


def _below(filesystem: Any, folder: str) -> dict[str, int | None]:
    entries = cast("dict[str, dict[str, Any]]", filesystem.find(folder, detail=True))
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
