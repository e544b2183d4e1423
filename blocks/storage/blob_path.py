"""Blob paths: the strings that may name a blob; pure.

A blob path is a relative path of plain segments below the root of the storage. Waybill makes its own from random ids.
Paths from elsewhere (Prefect's result keys) pass the same check, so no path leaves the root.
"""

from __future__ import annotations

import re
import secrets
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
# In a folder of two digits, which are those of the id, or of three.
_FILE_PATH = re.compile(
    rf"(?:{_KIND_PATTERN})/(?:([0-9a-f]{{2}})/(?!0{{32}}$)\1[0-9a-f]{{30}}|[0-9a-f]{{3}}/(?!0{{32}}$)[0-9a-f]{{32}})"
)
# With three digits, ten million files of a kind are some thousand in a folder.
_FOLDERS = 16**3
# A group of files that become available together has up to 500 files, and so one or two folders to sync for each kind.
_FILES_IN_A_ROW = 500


def new_blob_path(kind: str, file_id: UUID) -> str:
    """Return ``outputs/3f/3f2a...``, which the id alone decides: one of 256 folders, so that each can be listed."""
    text = file_id.hex
    return f"{kind_folder(kind)}/{text[:2]}/{text}"


class BlobPaths:
    """The paths that one process makes: ``outputs/3f2/9c41...``, some hundred files of a kind in one folder.

    Files that are stored at about the same time lie in few folders, which are synced together. The ids stay random.
    Transfers are the exception: an upload arrives in many requests, and each finds its bytes by the id alone.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, int]] = {}

    def new(self, kind: str, file_id: UUID) -> str:
        """Return a path for a file of *kind*. For one thread."""
        if kind == "transfer":
            return new_blob_path(kind, file_id)
        folder, left = self._folders.get(kind, ("", 0))
        if not left:
            folder, left = f"{kind_folder(kind)}/{secrets.randbelow(_FOLDERS):03x}", _FILES_IN_A_ROW
        self._folders[kind] = folder, left - 1
        return f"{folder}/{file_id.hex}"


def kind_folder(kind: str) -> str:
    """Return the folder of all blob paths of *kind*."""
    return _KIND_FOLDERS[kind]


def is_file_path(path: str) -> bool:
    """Return whether *path* is one that Waybill makes for a file; others may be blob paths too."""
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
