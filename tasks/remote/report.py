"""Results and errors of jobs, as a worker reports them and as the run reads them. What a worker says is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from blocks import errors
from blocks.catalog.json_columns import json_text
from blocks.errors import CatalogRefused, RemoteFailed, StageFailed, WaybillError
from tasks.contract import DocumentInfo
from tasks.job import JobResult

# Long enough for every message of ours; a worker must not fill the log and the events of a run.
MAX_MESSAGE_CHARS = 2000
_MAX_WARNINGS = 1000


class Result(BaseModel):
    """What a worker reports of an output. *sha256* and *size* are those of the plain content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(ge=0, lt=1e9)
    peak_memory_bytes: int = Field(ge=0, lt=2**60)
    metadata: dict[str, Any] = {}
    warnings: list[str] = Field(default=[], max_length=_MAX_WARNINGS)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, lt=2**60)

    @model_validator(mode="after")
    def _can_be_stored(self) -> Result:
        try:
            json_text(dict(self), "result")
        except CatalogRefused as exc:
            raise ValueError(exc.message) from exc
        return self


class Failure(BaseModel):
    """The error of a job: the name of one of `blocks.errors`, and its message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(pattern=r"^[A-Za-z]{1,64}$")
    message: str = Field(max_length=MAX_MESSAGE_CHARS)


_DOCUMENT = TypeAdapter(DocumentInfo)


def result_of(result: JobResult, *, sha256: str, size: int) -> dict[str, Any]:
    """Return what a worker reports of a job that it has done.

    Raises `CatalogRefused` for more than the catalogue stores of an output, as at home.
    """
    found = {
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "metadata": dict(result.metadata),
        "warnings": list(result.warnings[:_MAX_WARNINGS]),
        "sha256": sha256,
        "size": size,
    }
    json_text(found, "result")
    return found


def failure_of(error: WaybillError) -> dict[str, Any]:
    """Return what a worker reports of a job that failed."""
    return {"type": type(error).__name__, "message": error.message[:MAX_MESSAGE_CHARS]}


def read_result(reported: Mapping[str, Any], worker: str | None) -> JobResult:
    """Return the result of a job. Raises `RemoteFailed` for what is none."""
    try:
        result = Result.model_validate(dict(reported))
    except ValidationError as exc:
        raise RemoteFailed(f"worker {worker} reported a result that cannot be read") from exc
    return JobResult(
        seconds=result.seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        metadata=result.metadata,
        warnings=tuple(result.warnings),
        worker=worker,
    )


def read_failure(reported: Mapping[str, Any]) -> WaybillError:
    """Return the error of a job; `StageFailed` for a type that is none of ours."""
    try:
        failure = Failure.model_validate(dict(reported))
    except ValidationError:
        return StageFailed("the worker reported an error that cannot be read")
    kind = getattr(errors, failure.type, None)
    if isinstance(kind, type) and issubclass(kind, WaybillError):
        return kind(failure.message)
    return StageFailed(failure.message)


def document_json(document: DocumentInfo) -> dict[str, Any]:
    """Return a document as JSON."""
    found: dict[str, Any] = _DOCUMENT.dump_python(document, mode="json")
    return found


def read_document(found: Mapping[str, Any]) -> DocumentInfo:
    """Return the document that `document_json` has written. Raises `InvalidOptions`."""
    try:
        return _DOCUMENT.validate_python(dict(found))
    except ValidationError as exc:
        raise errors.InvalidOptions("a document of the assignment cannot be read") from exc
