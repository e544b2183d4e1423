"""The `artifact-store` block: the storage of this deployment, as a Prefect block.

Custody uses it through `backend`; Prefect uses it as result storage through `read_path` and `write_path`.
"""

from __future__ import annotations

import asyncio

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.filesystems import WritableFileSystem
from prefect.types import SecretDict
from pydantic import Field, PrivateAttr

from blocks.storage import open_backend
from blocks.storage.backend import Backend, read_chunks

# Prefect's results are stored next to the artifacts, in a folder that no blob path of an artifact begins with.
_RESULTS_PREFIX = "prefect-results"


class ArtifactStore(WritableFileSystem):
    """A folder, or any fsspec URL with the options of its driver."""

    _block_type_name = "Artifact Store"
    _block_type_slug = "artifact-store"
    _description = "Storage for Waybill's artifacts on any fsspec file system; also usable as Prefect result storage."
    _logo_url = None

    url: str = Field(description="A folder, or an fsspec URL such as memory://waybill or sftp://host/folder.")
    options: SecretDict = Field(
        default_factory=lambda: SecretDict({}), description="Keyword arguments for the fsspec driver; kept secret."
    )
    managed: bool = Field(
        default=False,
        description="Set in blocks that earlier versions of Waybill have saved; they are ignored. Leave it off in a "
        "block of your own, which takes precedence over the environment.",
    )

    _backend: Backend | None = PrivateAttr(default=None)

    @property
    def backend(self) -> Backend:
        """The storage, opened on first use. Raises `InvalidSettings` when no driver serves the URL."""
        if self._backend is None:
            self._backend = open_backend(self.url, self.options.get_secret_value())
        return self._backend

    async def aread_path(self, path: str) -> bytes:
        """Return the result stored under *path*. Raises `BlobMissing`."""
        return await asyncio.to_thread(self._read, path)

    @async_dispatch(aread_path)
    def read_path(self, path: str) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the result stored under *path*. Raises `BlobMissing`."""
        return self._read(path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Store a result atomically, replacing an earlier one under *path*."""
        await asyncio.to_thread(self._write, path, content)

    @async_dispatch(awrite_path)
    def write_path(self, path: str, content: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Store a result atomically, replacing an earlier one under *path*."""
        self._write(path, content)

    def _read(self, path: str) -> bytes:
        with self.backend.open(f"{_RESULTS_PREFIX}/{path}") as stream:
            return b"".join(read_chunks(stream))

    def _write(self, path: str, content: bytes) -> None:
        self.backend.publish(f"{_RESULTS_PREFIX}/{path}", [content], replace=True)
