"""What interrupted writers left in a storage, found past the back end's own interface, which only removes it."""

from __future__ import annotations

from blocks.storage import Backend
from blocks.storage.local import LocalBackend, _blob_name_of_partial
from blocks.storage.s3.backend import S3Backend
from blocks.storage.s3.unfinished import unfinished_uploads


def leftovers(backend: Backend) -> list[str]:
    """The blob paths of temporary files or open uploads, once each; none where a write has no such thing."""
    if isinstance(backend, LocalBackend):
        files = [path.relative_to(backend._root) for path in sorted(backend._root.rglob("*.partial"))]
        return [str(file.with_name(name)) for file in files if (name := _blob_name_of_partial(file.name))]
    if isinstance(backend, S3Backend):
        uploads = unfinished_uploads(backend._connection, backend._bucket, backend._prefix)
        return [upload["Key"].removeprefix(backend._prefix) for upload in uploads]
    return []
