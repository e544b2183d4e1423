"""Parts of the OpenAPI document that routes share: the shape of errors, status descriptions, multipart forms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import BaseRoute

_DESCRIPTIONS = {
    400: "The request is malformed",
    401: "The API key or link is missing, unknown, expired or revoked",
    403: "The API key lacks the scope, or the link is for something else",
    404: "Not found",
    408: "The request body arrived too slowly",
    409: "Conflict with the current state",
    410: "Expired or deleted",
    411: "The length of the body is missing",
    412: "If-Match names other content, or the protocol has another version",
    413: "Too large",
    414: "The URL is too long",
    415: "The media type is not allowed",
    416: "The range is beyond the end of the file",
    422: "A field or parameter is not valid",
    423: "Another request is writing; Retry-After says when to try again",
    429: "Too many requests; Retry-After says when to try again",
    460: "The bytes are not those of the checksum; none of them is kept",
    500: "Stored bytes are damaged, or an unexpected error",
    503: "The database, the storage, its key or Prefect is not there now; Retry-After says when to try again",
    507: "The storage or the disk of the database is full",
}

_FIRST_SENTENCE = re.compile(r".+?[.!?](?=\s|$)")

# Statuses of every path with a key. 500 too: a database or storage that is set up wrongly shows on any path.
_EVERYWHERE = (401, 403, 414, 422, 429, 500, 503)

ANY_CONTENT: dict[str, Any] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
"""For a response that has the media type of the file."""


class ErrorDetail(BaseModel):
    """What went wrong: *code* is for programs, *message* for people."""

    code: str = Field(examples=["ArtifactNotFound"])
    message: str = Field(examples=["there is no file with this id"])
    detail: dict[str, Any] = Field(examples=[{}])


class ErrorAnswer(BaseModel):
    """The body of every error response."""

    model_config = ConfigDict(title="Error")

    error: ErrorDetail


def name_operations(routes: Iterable[BaseRoute]) -> None:
    """Give each path of the OpenAPI document the first sentence of its description as its summary."""
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema and route.summary is None:
            first = _FIRST_SENTENCE.match(" ".join(route.description.split()))
            route.summary = first[0] if first else None


def form(*, file_required: bool, **fields: str) -> dict[str, Any]:
    """Return a route's `openapi_extra`: a multipart form with a file and text *fields*, given as name and example."""
    properties: dict[str, Any] = {"file": {"type": "string", "format": "binary"}}
    properties |= {name: {"type": "string", "examples": [example]} for name, example in fields.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if file_required:
        schema["required"] = ["file"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses`: the errors of every path with a key, and *statuses*."""
    return {
        status: {"model": ErrorAnswer, "description": _DESCRIPTIONS[status]}
        for status in sorted({*_EVERYWHERE, *statuses})
    }
