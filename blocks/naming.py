"""Names of stage outputs, their metadata and their reports; pure.

They are for people and downloads only: nothing that a user types becomes part of a blob path.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from pathlib import PurePosixPath

# ext4, NTFS and S3 browsers all take 255 bytes; 200 leaves room for the longest suffix (".stage5.report.json").
MAX_NAME_BYTES = 200

# ".parquet", ".numbers" and such; a longer one does not identify a type to a person.
MAX_SUFFIX_BYTES = 20

# For `str.translate`: a backslash in front of what Markdown takes for markup. Forgetting looks for names so spelled.
MARKDOWN_SIGNS = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#~!&$"})

_FORBIDDEN = set('/\\:*?"<>|')


def clean_display_name(name: str) -> str:
    """Return the last path part of *name* without control characters, separators or bidirectional marks; never blank.

    Characters that some file system refuses become ``_``; blanks and dots at both ends are removed, so that no name is
    hidden. The result has at most `MAX_NAME_BYTES` bytes of UTF-8 in normal form C, truncated before the extension so
    that the type stays visible. Idempotent.
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    kept = "".join(
        "_" if char in _FORBIDDEN else char
        for char in unicodedata.normalize("NFC", last)
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )
    # Normalise again: removing a mark may have placed an accent directly after its letter.
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
    """``report.stage3.meta.json``: what the catalogue records of a stage's output."""
    return f"{document_stem(document_name)}.stage{stage_number}.meta.json"


def report_view_name(document_name: str, stage_number: int) -> str:
    """``report.stage3.report.json``: how the stage went."""
    return f"{document_stem(document_name)}.stage{stage_number}.report.json"


def export_name(export_type: str, job_id: str, at: datetime, extension: str) -> str:
    """``documents_exp_0123456789abcdef_20260301_120000.csv.gz``: the time is UTC."""
    return f"{export_type}_{job_id}_{at.astimezone(UTC):%Y%m%d_%H%M%S}.{extension}"
