"""Choose the back end that serves a storage URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from blocks.errors import InvalidSettings
from blocks.storage.backend import Backend
from blocks.storage.local import LocalBackend


def open_backend(url: str, options: Mapping[str, Any] | None = None) -> Backend:
    """Return the back end for *url*: a path or ``file://`` URL, ``s3://BUCKET/PREFIX``, or any URL that fsspec knows.

    Raises `InvalidSettings` when fsspec does not know the scheme, its driver is not installed or refuses the options,
    and `StorageUnavailable` when a driver that connects immediately cannot.
    """
    parts = urlsplit(url)
    if "://" not in url or parts.scheme in {"file", "local"}:
        path = url.split("://", 1)[1] if "://" in url else url
        if not path or "\0" in path:
            raise InvalidSettings("the storage URL names no folder; give a path or file:///folder")
        try:
            return LocalBackend(Path(path).expanduser().absolute())
        except RuntimeError as exc:  # no such account, or one without a home
            raise InvalidSettings(f"the storage URL {path} begins with a home folder that does not exist") from exc
    if parts.scheme in {"s3", "s3a"}:
        from blocks.storage.s3.backend import S3Backend  # s3fs takes half a second to import

        return S3Backend(url, dict(options or {}))
    from blocks.storage.fsspec_backend import FsspecBackend  # fsspec takes a tenth of a second

    return FsspecBackend(url, dict(options or {}))
