"""Storage keys: which strings may name a blob; pure.

A key is a relative path of plain segments under the store's root. Waybill makes its own keys from random ids; what
arrives from elsewhere (Prefect's result keys) passes the same gate, so no key ever leaves the root.
"""

from __future__ import annotations

import unicodedata
from uuid import UUID

from blocks.errors import UnsafeKey

# S3 takes 1,024 bytes of key, and a root prefix has to fit in front of it.
MAX_PATH_BYTES = 900
# The longest file name of ext4, XFS, APFS and NTFS is 255 bytes; a temporary name is 26 bytes longer than the blob's.
MAX_SEGMENT_BYTES = 220
# A temporary file begins with a dot and ends with this, and no key may look like one.
PARTIAL_SUFFIX = ".partial"

_KIND_FOLDERS = {"stage_output": "outputs", "upload": "uploads", "transfer": "transfers", "export": "exports"}


def new_blob_path(kind: str, file_id: UUID) -> str:
    """``outputs/3f/3f2a...``: the first two digits spread blobs over 256 folders, so no folder grows past listing."""
    text = file_id.hex
    return f"{kind_folder(kind)}/{text[:2]}/{text}"


def kind_folder(kind: str) -> str:
    """The folder that all keys of *kind* begin with."""
    return _KIND_FOLDERS[kind]


def check_blob_path(key: str) -> tuple[str, ...]:
    """The segments of *key*. Raises `UnsafeKey` for anything that is absolute, climbs, hides a control character or
    is too long to be stored everywhere."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError as exc:
        raise UnsafeKey("a storage key must be valid Unicode") from exc
    if not encoded or len(encoded) > MAX_PATH_BYTES:
        raise UnsafeKey(f"a storage key has 1 to {MAX_PATH_BYTES} bytes, not {len(encoded)}")
    segments = tuple(key.split("/"))
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise UnsafeKey(f"the storage key {key!r} is absolute or climbs; keys are plain relative paths")
        if "\\" in segment or any(unicodedata.category(char) in {"Cc", "Cs"} for char in segment):
            raise UnsafeKey(f"the storage key {key!r} holds a control character or a backslash")
        if segment.startswith(".") and segment.endswith(PARTIAL_SUFFIX):
            raise UnsafeKey(f"the storage key {key!r} looks like a temporary file")
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise UnsafeKey(
                f"a part of a storage key has at most {MAX_SEGMENT_BYTES} bytes, not {len(segment.encode())}"
            )
    return segments


def is_blob_path(name: str) -> bool:
    """Whether *name* is a storage key; foreign files in a store may have any name."""
    try:
        check_blob_path(name)
    except UnsafeKey:
        return False
    return True
