"""The forms of an exported file: names, extensions and media types; pure."""

from __future__ import annotations

from blocks.errors import ExportRefused, InvalidOptions

FORMATS = ("csv", "json", "jsonl")
COMPRESSIONS = ("gzip",)

_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json", "jsonl": "application/x-ndjson"}
_SUFFIXES = {"gzip": "gz"}

__all__ = ["COMPRESSIONS", "FORMATS", "ExportRefused", "check_format", "extension", "media_type"]


def check_format(format: str, compression: str | None) -> None:  # noqa: A002 - the name that users know it by
    """Raise `InvalidOptions` for a format or a compression that nothing here writes."""
    if format not in FORMATS:
        raise InvalidOptions(f"this version writes no {format}; there are {', '.join(FORMATS)}")
    if compression is not None and compression not in COMPRESSIONS:
        raise InvalidOptions(f"this version compresses with no {compression}; there is {', '.join(COMPRESSIONS)}")


def extension(format: str, compression: str | None = None) -> str:  # noqa: A002
    """Return ``csv`` or ``csv.gz``. Raises `InvalidOptions`."""
    check_format(format, compression)
    return format if compression is None else f"{format}.{_SUFFIXES[compression]}"


def media_type(format: str, compression: str | None = None) -> str:  # noqa: A002
    """Return the media type of the file. Raises `InvalidOptions`."""
    check_format(format, compression)
    return _MEDIA_TYPES[format] if compression is None else "application/gzip"
