"""Read the manifest of a file from the storage, where any account with access to it may have written something else."""

from __future__ import annotations

from blocks.catalog import Artifact
from blocks.custody.inline_manifest import read_inline_manifest
from blocks.custody.manifest import MAX_MANIFEST_BYTES, is_manifest_path, manifest_path, read_manifest
from blocks.errors import MalformedManifest, StorageUnavailable
from blocks.keys import StorageKeys
from blocks.storage import Backend


def read_manifest_of(backend: Backend, path: str, keys: StorageKeys, *, accept_plain: bool) -> Artifact | None:
    """Return the artifact that *path* describes: a manifest, or a blob with one in its header, which is encrypted.

    None for a blob without one. Blocks. Raises like `read_stored_manifest` and `read_inline_manifest`.
    """
    if is_manifest_path(path):
        return read_stored_manifest(backend, path, keys, accept_plain=accept_plain)
    return read_inline_manifest(backend, path, keys)


def read_stored_manifest(backend: Backend, path: str, keys: StorageKeys, *, accept_plain: bool) -> Artifact:
    """Return the artifact that the manifest at *path* describes: the one whose manifest belongs there. Blocks.

    Raises `MalformedManifest`, `BlobMissing`, `StorageUnavailable`, and what `read_manifest` raises.
    """
    with backend.open(path) as stream:
        try:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
        except OSError as exc:
            raise StorageUnavailable(f"it cannot be read: {exc.strerror or type(exc).__name__}") from exc
    if len(content) > MAX_MANIFEST_BYTES:
        raise MalformedManifest(f"it is larger than {MAX_MANIFEST_BYTES} bytes, which no manifest is")
    artifact = read_manifest(content, keys, accept_plain=accept_plain)
    if manifest_path(artifact.location) != path:
        raise MalformedManifest(f"it describes another file, at {artifact.location}")
    return artifact
