"""Blob storage: bytes under a path, written whole or not at all.

Promises that a blob becomes visible in one step, that of two writers of one path one fails (on every back end that can
decide between them), and that a failed write leaves nothing. Refuses paths that would leave the root. `blocks.custody`
is the only user of a `Backend` for files. Start reading at `backend` (the contract), then `local`. Import `s3.backend`
and the `artifact-store` block (`block`) by name: s3fs and Prefect take half a second each.
"""

from blocks.storage.backend import (
    CHUNK_BYTES,
    Backend,
    Blob,
    Digest,
    Expected,
    StoredObject,
    probe_writing,
    read_chunks,
)
from blocks.storage.blob_path import BlobPaths, is_blob_path, is_file_path, kind_folder, new_blob_path
from blocks.storage.open import open_backend
from blocks.storage.partial import PartialBlob, PresignedPart, SentInParts, SentPart

__all__ = [
    "CHUNK_BYTES",
    "Backend",
    "Blob",
    "BlobPaths",
    "Digest",
    "Expected",
    "PartialBlob",
    "PresignedPart",
    "SentInParts",
    "SentPart",
    "StoredObject",
    "is_blob_path",
    "is_file_path",
    "kind_folder",
    "new_blob_path",
    "open_backend",
    "probe_writing",
    "read_chunks",
]
