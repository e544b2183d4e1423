"""Sources that fsspec opens: the files that a URL stands for.

Owns listing folders and globs behind URLs, and writing the URL of each file so that it can be opened by itself, with
its host and its chain (``zip://*.md::https://host/a.zip``). Reads no file. HTTP has no folders, so its URLs are files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidOptions, SourceNotFound
from blocks.redaction import without_password

# For HTTP, fsspec takes any page with links for a folder, and its "glob" follows them; "?" starts a query.
_WITHOUT_FOLDERS = ("http:", "https:")


def listed(source: str) -> Iterator[str]:
    """Yield the URL of every file that *source* stands for: itself, or a folder's or glob's files in name order.

    Hidden entries are left out. A source that cannot be listed is yielded as it is: reading it fails and is retried.
    Raises `InvalidOptions` for a URL without a driver, `SourceNotFound` when a folder or glob holds no file.
    """
    links = source.split("::")
    if links[_first_url(links)].lower().startswith(_WITHOUT_FOLDERS):
        yield source
        return
    shown = without_password(source)
    try:
        filesystem, path = cast("tuple[Any, str]", fsspec.url_to_fs(source))  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, TypeError, ImportError) as exc:
        scheme = source.split("://", 1)[0]
        raise InvalidOptions(f"no driver opens {scheme}:// sources, or the driver does not accept this URL") from exc
    except Exception as exc:
        raise SourceNotFound(f"cannot open {shown!r}: {type(exc).__name__}") from exc
    try:
        paths = _files(filesystem, path)
    except Exception as exc:
        if _is_glob(path):
            raise SourceNotFound(f"cannot list {shown!r}: {type(exc).__name__}") from exc
        paths = None
    if paths is None:
        yield source
        return
    if not paths:
        raise SourceNotFound(f"{shown!r} has no files")
    for found in sorted(paths):
        yield _url_of(found, source, path, filesystem)


def _files(filesystem: Any, path: str) -> set[str] | None:
    """Return the files of a folder or glob; None when *path* is neither."""
    # A name that exists is itself, even when it looks like a glob.
    if _is_glob(path) and not filesystem.exists(path):
        entries = cast("dict[str, dict[str, Any]]", filesystem.glob(path, detail=True))
        shown = {
            name: entry for name, entry in entries.items() if not name.rstrip("/").rsplit("/", 1)[-1].startswith(".")
        }
        found: set[str] = set()
        for name, entry in shown.items():
            found |= _below(filesystem, name) if entry["type"] == "directory" else {name}
        return found
    return _below(filesystem, path) if filesystem.isdir(path) else None


def _below(filesystem: Any, folder: str) -> set[str]:
    names = cast("list[str]", filesystem.find(folder))
    return {name for name in names if not any(p.startswith(".") for p in name[len(folder) :].split("/"))}


def _is_glob(path: str) -> bool:
    return any(char in path for char in "*?[")


def _url_of(found: str, source: str, path: str, filesystem: Any) -> str:
    """Return *source* with *found* in place of *path*: the driver's own URL of a file leaves out hosts and chains."""
    links = source.split("::")
    number = _first_url(links)
    link = links[number].rstrip("/") if path else links[number]
    for ending, tail in ((path, found), (path.lstrip("/"), found.lstrip("/"))):
        if link.endswith(ending):
            links[number] = link[: len(link) - len(ending)] + tail
            return "::".join(links)
    return str(filesystem.unstrip_protocol(found))


def _first_url(links: list[str]) -> int:
    """Return which link of a chain has the path: ``simplecache::s3://bucket/x`` opens ``bucket/x``."""
    return next((number for number, link in enumerate(links) if "://" in link), 0)
