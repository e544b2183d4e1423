"""How the URL of a source is taken apart: wrappers before it, and the place that they stand on; pure.

Of fsspec's chains (``zip://docs/*.md::simplecache::s3://bucket/a.zip``) a wrapper ends at ``::``; what follows the last
one is the place, as plain text: a key may have ``::`` itself. Refuses schemes that read what the URL does not name.
"""

from __future__ import annotations

from dataclasses import dataclass

from blocks.errors import InvalidOptions

# They keep a copy of what they read. Waybill reads each file once and keeps its own, so they change nothing.
_CACHES = {"simplecache", "filecache", "blockcache", "cached"}
_ARCHIVES = {"zip", "tar", "libarchive"}
# They read local files, or any file at all, that the URL itself does not name: nothing could bound them. A URL of data
# names no file, and the driver's failures would be taken for an outage.
_REFUSED = {
    "reference", "dask", "dir", "generic", "async_wrapper", "asyncwrapper", "asynclocal", "git", "dvc", "root", "data",
}  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """One archive of a chain. `path` is a file, folder or glob in it, and `tail` is the text after it."""

    scheme: str
    path: str
    tail: str


@dataclass(frozen=True)
class Location:
    """A URL taken apart: `head` (caches) + archives, each in the next + `place`, a URL or a local path."""

    head: str
    archives: tuple[Archive, ...]
    place: str

    @property
    def scheme(self) -> str:
        """The scheme of the place in lower case; ``file`` for a path."""
        scheme, is_url, _ = self.place.partition("://")
        return scheme.lower() if is_url else "file"

    @property
    def behind(self) -> Location:
        """Where the outermost archive is: in the next one, or at the place."""
        return Location("", self.archives[1:], self.place)

    def url_of(self, found: str) -> str:
        """Return the URL of a file in the outermost archive."""
        return f"{self.head}{self.archives[0].scheme}://{found}{self.archives[0].tail}"


def taken_apart(source: str) -> Location:
    """Return the parts of a URL. Raises `InvalidOptions` for a scheme that is not read."""
    head, archives, rest = "", list[Archive](), source
    while True:
        link, chained, after = rest.partition("::")
        name, is_url, path = link.partition("://")
        scheme = name.lower()
        if scheme in _REFUSED and (is_url or chained):
            raise InvalidOptions(f"{scheme}:// sources are not read; name the files themselves")
        if scheme in _CACHES | _ARCHIVES and not chained:
            raise InvalidOptions(f"{scheme}:// needs a place to read from: {scheme}://...::URL")
        if scheme in _CACHES:
            head += f"{link}::" if not archives else ""
        elif scheme in _ARCHIVES:
            archives.append(Archive(scheme, path.lstrip("/"), f"::{after}"))
        else:
            return Location(head, tuple(archives), rest)
        rest = after
