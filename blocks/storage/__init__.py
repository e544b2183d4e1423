"""Where blobs lie: keys, back ends, and the `artifact-store` block (`blocks.storage.block`, which imports Prefect)."""

from blocks.storage.backend import CHUNK_BYTES, Backend, Blob, Digest, Expected, read_chunks
from blocks.storage.blob_path import check_blob_path, kind_folder, new_blob_path
from blocks.storage.open import open_backend

__all__ = [
    "CHUNK_BYTES",
    "Backend",
    "Blob",
    "Digest",
    "Expected",
    "check_blob_path",
    "kind_folder",
    "new_blob_path",
    "open_backend",
    "read_chunks",
]
