"""How routes describe themselves in the OpenAPI document: the one shape of errors, and which status means what."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_MEANINGS = {
    400: "Not a request that can be read",
    401: "No API key, or one that does not work",
    403: "The key has not the scope, or the link is for something else",
    404: "There is no such thing",
    408: "The request came too slowly",
    409: "In conflict with how things are",
    410: "It was there: expired or deleted",
    412: "Not the content that If-Match names",
    413: "Too large",
    414: "The URL is too long",
    415: "A type that is not allowed",
    416: "No byte of the file lies in this range",
    422: "The request does not have the right form",
    429: "Too many requests; Retry-After says when to come again",
    500: "Stored bytes are damaged, or something unforeseen went wrong",
    503: "Database, storage or Prefect do not answer now; Retry-After says when to come again",
    507: "No room left in the storage",
}

# What the gateway stands on may be set up wrongly, and then any path says so.
_ANYWHERE = (401, 403, 414, 422, 429, 500, 503)

ANY_CONTENT: dict[str, Any] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
"""For an answer of whatever type the file has."""


class ErrorDetail(BaseModel):
    """*code* is for programs, *message* for people."""

    code: str = Field(examples=["ArtifactNotFound"])
    message: str = Field(examples=["there is no such file"])
    detail: dict[str, Any] = Field(examples=[{}])


class ErrorAnswer(BaseModel):
    """Every answer that is an error."""

    model_config = ConfigDict(title="Error")

    error: ErrorDetail


def form(*, file_required: bool, **fields: str) -> dict[str, Any]:
    """For a route's `openapi_extra`: a multipart form of a file and text fields, which are given with an example."""
    properties: dict[str, Any] = {"file": {"type": "string", "format": "binary"}}
    properties |= {name: {"type": "string", "examples": [example]} for name, example in fields.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if file_required:
        schema["required"] = ["file"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: those that every path with a key has, and *statuses*."""
    return {
        status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in sorted({*_ANYWHERE, *statuses})
    }
