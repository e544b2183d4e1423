"""The forms of an exported file: names, extensions and media types; pure."""

from __future__ import annotations

from blocks.errors import InvalidOptions

FORMATS = ("csv", "json", "jsonl", "xlsx", "parquet")
COMPRESSIONS = ("gzip", "zstd")

_MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}
_SUFFIXES = {"gzip": "gz", "zstd": "zst"}
_COMPRESSED_TYPES = {"gzip": "application/gzip", "zstd": "application/zstd"}


def check_format(format: str, compression: str | None) -> None:  # noqa: A002 - the name that users know it by
    """Raise `InvalidOptions` for a format or a compression that nothing here writes, or that do not go together."""
    if format not in FORMATS:
        raise InvalidOptions(f"there is no export format {format[:40]!r}; there are {', '.join(FORMATS)}")
    if compression is not None and compression not in COMPRESSIONS:
        raise InvalidOptions(f"there is no compression {compression[:40]!r}; there are {', '.join(COMPRESSIONS)}")
    if format == "xlsx" and compression is not None:
        raise InvalidOptions("an xlsx file is compressed already, and no program opens one that is packed again")


def extension(format: str, compression: str | None = None) -> str:  # noqa: A002
    """Return ``csv`` or ``csv.gz``; ``parquet`` is compressed inside and keeps its name. Raises `InvalidOptions`."""
    check_format(format, compression)
    return format if compression is None or format == "parquet" else f"{format}.{_SUFFIXES[compression]}"


def media_type(format: str, compression: str | None = None) -> str:  # noqa: A002
    """Return the media type of the file. Raises `InvalidOptions`."""
    check_format(format, compression)
    return _MEDIA_TYPES[format] if compression is None or format == "parquet" else _COMPRESSED_TYPES[compression]
