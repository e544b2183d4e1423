"""The contract of a stage: its declaration, its input and its output; pure.

A stage is a plain function with a declaration around it. It runs in a worker process that has time and memory limits
and no Prefect; it reads local files and returns bytes. Reuse, custody, retries and status are in `tasks.stage_tasks`,
so the author of a stage writes none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from blocks.language_model.settings import LanguageModelSettings
from blocks.runtime.form_schema import in_order

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from blocks.custody.sealing import Sealing
    from blocks.errors import WaybillError

# The name under which a stage reads the document itself instead of another stage's output.
SOURCE = "source"


class StageOptions(BaseModel):
    """Base of every stage's options: unknown names are refused, values are frozen, the JSON schema is public."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)


OptionsT = TypeVar("OptionsT", bound=StageOptions)


@dataclass(frozen=True, kw_only=True)
class DocumentInfo:
    """The document of a stage. `sha256` (hex) of its content is its identity; the rest says where it came from."""

    name: str
    sha256: str
    size_bytes: int
    media_type: str
    source: str
    modified_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a stage may use beyond its input files. Set once per worker process, never stored, never logged."""

    home: Path
    database_url: str = field(default="", repr=False)
    language_model: LanguageModelSettings | None = None
    sealing: Sealing | None = None
    """What the worker process stores outputs with; None where its parent stores them."""


def _nothing() -> None:
    """Report progress to nothing: the stage runs outside a worker."""


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """The input of a stage function: local files by the name of the stage that made them (or `SOURCE`)."""

    document: DocumentInfo
    files: Mapping[str, Path]
    services: Services
    stage_key: str = ""
    note_progress: Callable[[], None] = _nothing
    """Called by a stage that waits for others: a worker without processor time and progress is stopped."""
    requests_at_once: int | None = None
    """How many requests a stage may have under way at the language model, where that is limited."""

    def first(self, *names: str) -> Path:
        """Return the first of *names* that is there. Raises `KeyError`; `Stage.reads` has been checked before."""
        for name in names:
            if name in self.files:
                return self.files[name]
        raise KeyError(names)


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """The output of a stage: its bytes, metadata for the catalogue (small JSON), and warnings for people.

    The same input, options and stage version must give the same bytes: no clock, no random ids.
    """

    content: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Read:
    """One input of a stage: the first of *any_of* that has been made; an optional input may be missing."""

    any_of: tuple[str, ...]
    required: bool = True


HasEffect = Callable[["AsyncConnection[Any]", Collection[tuple[str, str]]], Awaitable[Collection[tuple[str, str]]]]


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[OptionsT]):
    """A stage's declaration.

    `version` is part of the stage key: raise it when the same input would give other bytes, and every document runs
    again from this stage on. `identity` returns what else decides the output, such as a model's name. `has_effect` is
    for a stage that writes somewhere else: it returns for which documents that effect is still there. Without it, an
    available output is enough for reuse. `needs_home` is for a stage that uses what remote workers do not have (the
    catalogue, the language model): it returns whether it does with these options.
    """

    number: int
    name: str
    version: str
    suffix: str
    media_type: str
    reads: tuple[Read, ...]
    options: type[OptionsT]
    run: Callable[[StageInput, OptionsT], StageOutput]
    identity: Callable[[OptionsT, Services], Mapping[str, str]] | None = None
    has_effect: HasEffect | None = None
    """Called with a connection and, for many documents at once, (document sha256, stage key), before outputs are
    reused; returns those whose effect is still there."""
    run_together: Callable[[Sequence[StageInput], OptionsT], Sequence[StageOutput | WaybillError]] | None = None
    """Called with several documents at once, where that costs less than one at a time: it returns, in the same order,
    what `run` would return or raise for each. Whatever it raises itself has each document run by `run` instead."""
    limit_per_mib: float = 0.25
    """Share of the time limit that each MiB of input adds to it: by default several times what a stage needs."""
    needs_home: Callable[[OptionsT, Services | None], bool] | None = None
    """Called with the options, and with the services once they are known."""
    asks_model: Callable[[OptionsT, Services], bool] | None = None
    """Called with options and services: whether the stage asks the language model, whose use may be limited."""
