"""What a stage is: its declaration, what it is given, what it gives back; pure.

A stage is a plain function with a declaration around it. It runs in a worker process that has time and memory limits
and no Prefect; it reads local files and returns bytes. Reuse, custody, retries and status are the business of
`tasks.stage`, so a stage author writes none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from blocks.language_model.settings import LanguageModelSettings

if TYPE_CHECKING:
    from psycopg import AsyncConnection

# The name under which a stage reads the document itself instead of another stage's output.
SOURCE = "source"


class StageOptions(BaseModel):
    """Base of every stage's options: unknown names are refused, values are frozen, the schema is public."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OptionsT = TypeVar("OptionsT", bound=StageOptions)


@dataclass(frozen=True, kw_only=True)
class DocumentInfo:
    """The document a stage works on. `sha256` (hex) of its content is its identity; the rest is where it came from."""

    name: str
    sha256: str
    size_bytes: int
    media_type: str
    source: str
    modified_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a worker process may use beyond its input files. Set once per process, never stored, never logged."""

    home: Path
    database_url: str = field(default="", repr=False)
    language_model: LanguageModelSettings | None = None


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """What a stage function is given: local files by the name of the stage that made them (or `SOURCE`)."""

    document: DocumentInfo
    files: Mapping[str, Path]
    services: Services
    stage_key: str = ""

    def first(self, *names: str) -> Path:
        """The first of *names* that is there; `KeyError` when none is (the runner has checked `Stage.reads` before)."""
        for name in names:
            if name in self.files:
                return self.files[name]
        raise KeyError(names)


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """What a stage gives back: the output's bytes, facts for the catalogue (small JSON), and warnings for people.

    The same input, options and stage version must give the same bytes: no clock, no random ids.
    """

    content: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Read:
    """One input of a stage: the first of *any_of* that has been made; an optional one may be absent altogether."""

    any_of: tuple[str, ...]
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[OptionsT]):
    """A stage's declaration.

    `version` is part of the stage key: raise it when the same input would give other bytes, and every document runs
    again from this stage on. `identity` names what else decides the output (a model's name, say). `has_effect` lets a
    stage that writes somewhere else say whether that effect is still there; without it an available output is enough
    to reuse.
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
    has_effect: Callable[[AsyncConnection[Any], str, str], Awaitable[bool]] | None = None
    """Called with (connection, document sha256, stage key) before an output is reused."""
