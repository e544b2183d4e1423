"""Parses the text fields of upload forms. Errors name the field and say what it may hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import orjson

from blocks.durations import parse_period, read_time_limit
from blocks.errors import InvalidOptions
from blocks.webhooks.send.address import AddressGuard
from waybill.services.run_options import read_options, read_run_on_json, read_stages

# Every event of the run repeats the metadata, and events have 20 kB at most.
MAX_METADATA_BYTES = 8 * 1024
# Events nest it a few levels deeper, and JSON libraries give up beyond 250 levels or so.
MAX_METADATA_LEVELS = 32
MAX_SOURCE_TYPE_CHARS = 100

RUN_FIELDS = {
    "webhook_url": "https://example.org/hook",
    "stages": "1-5",
    "options": '{"chunker": {"max_tokens": 256}}',
    "keep_for": "90d",
    "time_limit": "10m",
    "run_on": '{"chunker": "gpu-pool"}',
}
"""Fields that are parameters of a run, with examples: see `read_run_field`."""


def read_metadata(text: str) -> dict[str, Any]:
    """Return a JSON object of the client's own. Raises `InvalidOptions`."""
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidOptions(f"metadata may have at most {MAX_METADATA_BYTES} bytes of JSON")
    try:
        found = orjson.loads(text)
    except ValueError as exc:
        raise InvalidOptions(f"metadata is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise InvalidOptions("metadata must be a JSON object")
    if _is_deeper(cast("dict[str, Any]", found), MAX_METADATA_LEVELS):
        raise InvalidOptions(f"metadata may have at most {MAX_METADATA_LEVELS} levels of objects and lists")
    return cast("dict[str, Any]", found)


def read_source_type(text: str) -> str:
    """Return the client's own word for where the file comes from. Raises `InvalidOptions`."""
    if not text.isprintable() or len(text) > MAX_SOURCE_TYPE_CHARS:
        raise InvalidOptions(f"source_type may have at most {MAX_SOURCE_TYPE_CHARS} characters, all printable")
    return text


def read_run_stages(text: str) -> list[int] | None:
    """Parse ``1-3``, ``1,2,3`` or ``[1, 2, 3]``; None, for all stages, if empty. Raises `InvalidOptions`."""
    plain = text.strip()
    if plain.startswith("[") and plain.endswith("]"):
        plain = plain[1:-1].strip()
    return read_stages(plain) if plain else None


def read_run_options(text: str) -> dict[str, Any]:
    """Return options for the stages; none if *text* is empty. Raises `InvalidOptions`."""
    return read_options(text, "options") if text.strip() else {}


def read_run_on(text: str) -> dict[str, Any] | None:
    """Return the remote workers of stages; None, for those of the settings, if empty. Raises `InvalidOptions`."""
    return read_run_on_json(text) if text.strip() else None


def read_webhook_url(text: str, guard: AddressGuard) -> str | None:
    """Return the URL that receives the run's events; None if empty. Raises `InvalidWebhookUrl`, `AddressRefused`.

    The host name is not resolved here: it is resolved and checked whenever an event is sent.
    """
    if not text.strip():
        return None
    guard.check_url(text)
    return text


def read_run_field(name: str, value: str, guard: AddressGuard) -> dict[str, Any]:
    """Return the parameter of a run that the field *name* holds; none if empty. Raises what reading it raises."""
    if name == "stages":
        return {name: read_run_stages(value)}
    if name == "options":
        return {name: read_run_options(value)}
    if name == "run_on":
        return {name: read_run_on(value)}
    if name == "webhook_url":
        return {name: read_webhook_url(value, guard)}
    if name == "time_limit":
        return {name: value.strip()} if read_run_time_limit(value) is not None else {}
    if name == "keep_for":
        return {name: value.strip()} if read_keep_for(value) is not None else {}
    raise AssertionError(f"unreachable: {name} is no parameter of a run")


def read_flag(name: str, value: str) -> dict[str, bool]:
    """Return what the field *name* says, ``true`` or ``false``; nothing if empty. Raises `InvalidOptions`."""
    plain = value.strip().lower()
    if plain not in {"", "true", "false"}:
        raise InvalidOptions(f"{name} is true or false, not {value[:20]!r}")
    return {name: plain == "true"} if plain else {}


def read_file_id(text: str) -> UUID:
    """Return the id of a file in custody. Raises `InvalidOptions`."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise InvalidOptions("file_id must be an id like 0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a") from exc


def upload_metadata(fields: dict[str, str]) -> dict[str, Any]:
    """Return what is stored with the file. Raises `InvalidOptions`."""
    metadata = read_metadata(fields["metadata"]) if fields.get("metadata", "").strip() else {}
    if fields.get("source_type", "").strip():
        metadata["source_type"] = read_source_type(fields["source_type"])
    return metadata


def read_keep_for(text: str) -> timedelta | None:
    """Return how long the file is to stay; None, for the period of the settings, if empty. Raises `InvalidOptions`."""
    return parse_period(text) if text.strip() else None


def read_run_time_limit(text: str) -> timedelta | None:
    """Return the processor time of one stage on one document; None if empty. Raises `InvalidOptions`."""
    return read_time_limit("time_limit", text) if text.strip() else None


def check_upload_field(name: str, value: str) -> None:
    """Check one field of what is stored with a file. Raises `InvalidOptions`."""
    if name == "keep_for":
        read_keep_for(value)
    else:
        upload_metadata({name: value})


def _is_deeper(found: dict[str, Any], levels: int) -> bool:
    level: list[dict[str, Any] | list[Any]] = [found]
    for _ in range(levels):
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer))
        level = [one for one in inner if isinstance(one, (dict, list))]
    return bool(level)
