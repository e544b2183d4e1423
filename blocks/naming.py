"""Names of stage outputs, their metadata and their reports; pure.

Owns the file-naming table. A name here is for people and downloads only: where bytes lie is decided by the server-made
storage key, so nothing a user types ever becomes part of a path.
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

# ext4, NTFS and S3 browsers all take 255 bytes; 200 leaves room for the longest suffix (".stage5.report.json").
MAX_NAME_BYTES = 200

# ".parquet", ".numbers" and such; a longer one is not an extension that a person would know the type by.
MAX_SUFFIX_BYTES = 20

_FORBIDDEN = set('/\\:*?"<>|')


def clean_display_name(name: str) -> str:
    """The last path part of *name* without control characters, separators or bidirectional marks; never blank.

    Characters that some file system refuses become ``_``; blanks and dots at the ends go, so no name is hidden. The
    result is at most `MAX_NAME_BYTES` bytes of UTF-8 in normal form C, cut in front of the extension so that the type
    stays visible. Cleaning a clean name changes nothing.
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    kept = "".join(
        "_" if char in _FORBIDDEN else char
        for char in unicodedata.normalize("NFC", last)
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )
    # Once more: an accent may have come to stand behind its letter when a mark between them went.
    kept = _shorten(_trim(unicodedata.normalize("NFC", kept)))
    return kept or "unnamed"


def _trim(name: str) -> str:
    trimmed = name.strip(" .")
    return trimmed if trimmed.strip() else ""


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > MAX_SUFFIX_BYTES:
        suffix = ""
    stem = name[: len(name) - len(suffix)].encode()[: MAX_NAME_BYTES - len(suffix.encode())]
    return _trim(stem.decode(errors="ignore")) + suffix


def document_stem(display_name: str) -> str:
    """``report.pdf`` -> ``report``; ``archive.tar.gz`` -> ``archive.tar``; ``.profile`` -> ``profile``."""
    return PurePosixPath(clean_display_name(display_name)).stem


def stage_output_name(document_name: str, suffix: str) -> str:
    """``report.pdf`` and ``.chunks.json`` -> ``report.chunks.json``."""
    return f"{document_stem(document_name)}{suffix}"


def metadata_view_name(document_name: str, stage_number: int) -> str:
    """``report.stage3.meta.json``: what the catalogue knows of a stage's output."""
    return f"{document_stem(document_name)}.stage{stage_number}.meta.json"


def report_view_name(document_name: str, stage_number: int) -> str:
    """``report.stage3.report.json``: how the stage went."""
    return f"{document_stem(document_name)}.stage{stage_number}.report.json"
