"""The bodies of recorded events without a document that is forgotten; pure.

An event about the document keeps what happened and when, and loses everything else. An event that others have a part in
loses the names alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import orjson

from blocks.forgetting.names import Names
from blocks.forgetting.traces import Traces

# Numbers and states, which say nothing of the document.
_KEPT = ("status", "progress", "sequence", "overall_success", "total_execution_time", "plan_id", "count", "bytes")
_KEPT_OF_STAGE = ("number", "name", "status", "execution_time")
# What may quote the document in an event that it shares with others.
_QUOTING = ("message", "result", "error")

Body = dict[str, Any]


def is_about(body: Mapping[str, Any], *, contents: Collection[str], file_ids: Collection[str]) -> bool:
    """Return whether an event is about the document alone."""
    data = body.get("data")
    if not isinstance(data, dict):
        return False
    data = cast("Body", data)
    context = data.get("context")
    if isinstance(context, dict) and cast("Body", context).get("document_sha256") in contents:
        return True
    if str(data.get("file_id")) in file_ids:
        return True
    files = _files(data, "files") or _files(data, "output_files")
    return bool(files) and all(str(one.get("file_id")) in file_ids for one in files)


def without_document(
    body: Body, *, names: Names, traces: Traces, contents: Collection[str], file_ids: Collection[str], of_run: bool
) -> tuple[bytes, bool]:
    """Return the new body, and whether the event is about the document alone. *of_run*: it belongs to a run of it."""
    about = is_about(body, contents=contents, file_ids=file_ids)
    new = dict(body)
    if "source_file" in body:  # short bodies have none
        new["source_file"] = names.redacted_value(body["source_file"], about=about or of_run)
    data = cast("Body", body.get("data") or {})
    if about:
        if "source_file" in body:
            new["source_file"] = names.instead
        new["data"] = _reduced(data)
    else:
        kept = {
            name: None if name in _QUOTING and traces.are_in(orjson.dumps(value).decode()) else value
            for name, value in data.items()
        }
        for name in ("files", "output_files"):
            if name in kept:
                kept[name] = [one for one in _files(data, name) if str(one.get("file_id")) not in file_ids]
        new["data"] = names.redacted_value(kept, about=of_run)
    return orjson.dumps(new), about


def _reduced(data: Body) -> Body:
    kept: Body = {name: data[name] for name in _KEPT if isinstance(data.get(name), (int, float, bool, str))}
    if isinstance(data.get("stage"), dict):
        kept["stage"] = _stage(cast("Body", data["stage"]))
    if isinstance(data.get("stages"), list):
        kept["stages"] = [
            _stage(cast("Body", one)) for one in cast("list[Any]", data["stages"]) if isinstance(one, dict)
        ]
    return kept | {"forgotten": True}


def _stage(stage: Body) -> Body:
    return {name: stage[name] for name in _KEPT_OF_STAGE if name in stage}


def _files(data: Body, name: str) -> list[Body]:
    files = data.get(name)
    return (
        [cast("Body", one) for one in cast("list[Any]", files) if isinstance(one, dict)]
        if isinstance(files, list)
        else []
    )
