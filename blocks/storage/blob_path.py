"""Blob paths: the strings that may name a blob; pure.

A blob path is a relative path of plain segments below the root of the storage. Waybill makes its own from random ids.
Paths from elsewhere (Prefect's result keys) pass the same check, so no path leaves the root.
"""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID

from blocks.errors import UnsafeKey

# An S3 object key has 1,024 bytes at most, and the prefix of the storage has to fit in front of the path.
MAX_PATH_BYTES = 900
# The longest file name of ext4, XFS, APFS and NTFS is 255 bytes; a temporary name is 26 bytes longer than the blob's.
MAX_SEGMENT_BYTES = 220
# A temporary file begins with a dot and ends with this suffix; no segment of a path may look like one.
PARTIAL_SUFFIX = ".partial"

_KIND_FOLDERS = {"stage_output": "outputs", "upload": "uploads", "transfer": "transfers", "export": "exports"}


_KIND_PATTERN = "|".join(_KIND_FOLDERS.values())
_FILE_PATH = re.compile(rf"(?:{_KIND_PATTERN})/([0-9a-f]{{2}})/(?!0{{32}}$)\1[0-9a-f]{{30}}")


def new_blob_path(kind: str, file_id: UUID) -> str:
    """Return ``outputs/3f/3f2a...``: the first two digits spread blobs over 256 folders, so that each can be listed."""
    text = file_id.hex
    return f"{kind_folder(kind)}/{text[:2]}/{text}"


def kind_folder(kind: str) -> str:
    """Return the folder of all blob paths of *kind*."""
    return _KIND_FOLDERS[kind]


def is_file_path(path: str) -> bool:
    """Return whether *path* is one that `new_blob_path` makes; one that other programs chose may be a blob path too."""
    return _FILE_PATH.fullmatch(path) is not None


def check_blob_path(path: str) -> tuple[str, ...]:
    """Return the segments of *path*.

    Raises `UnsafeKey` for a path that is absolute, climbs, holds a control character or is too long for some storage.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError as exc:
        raise UnsafeKey("a blob path must be valid Unicode") from exc
    if not encoded or len(encoded) > MAX_PATH_BYTES:
        raise UnsafeKey(f"a blob path has 1 to {MAX_PATH_BYTES} bytes, not {len(encoded)}")
    segments = tuple(path.split("/"))
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise UnsafeKey(f"the blob path {path!r} is absolute or climbs; use a plain relative path")
        # Most paths are plain ASCII, and some hundred thousand are checked in one call.
        is_plain = segment.isascii() and segment.isprintable()
        if "\\" in segment or (not is_plain and any(unicodedata.category(char) in {"Cc", "Cs"} for char in segment)):
            raise UnsafeKey(f"the blob path {path!r} holds a control character or a backslash")
        if segment.startswith(".") and segment.endswith(PARTIAL_SUFFIX):
            raise UnsafeKey(f"the blob path {path!r} looks like a temporary file")
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise UnsafeKey(
                f"a segment of a blob path has {MAX_SEGMENT_BYTES} bytes at most, not {len(segment.encode())}"
            )
    return segments


def is_blob_path(name: str) -> bool:
    """Return whether *name* is a blob path; foreign files in a storage may have any name."""
    try:
        check_blob_path(name)
    except UnsafeKey:
        return False
    return True
