"""What a hostile document is: how it is written, and what may come of it.

A case says what a converter may do with the document, not how long it takes or how much memory it gets: that is for
the test that runs it, under limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from blocks.errors import (
    EmptyDocument,
    EncryptedDocument,
    NoText,
    Permanent,
    StageCrashed,
    StageOutOfMemory,
    StageTimedOut,
    TooLarge,
    UnreadableDocument,
    UnsupportedType,
)

ErrorTypes = tuple[type[Permanent], ...]

# Groups of errors that a case may allow. `StageFailed` is in none of them: it stands for a defect of the stage.
DAMAGED: ErrorTypes = (UnreadableDocument, UnsupportedType, NoText)
"""The document is broken or holds nothing; each of these tells the user so."""
EMPTY: ErrorTypes = (EmptyDocument, NoText)
ENCRYPTED: ErrorTypes = (EncryptedDocument,)
LIMITS: ErrorTypes = (TooLarge, StageTimedOut, StageOutOfMemory, StageCrashed)
"""The worker's limits stopped it; also a crash, since a parser written in C may overflow its stack."""


class Outcome(Enum):
    SUCCEEDS = "succeeds"
    FAILS = "fails"
    EITHER = "succeeds, or fails with one of the errors"


@dataclass(frozen=True, kw_only=True)
class HostileCase:
    """One hostile document.

    `contains` must be in the text whenever it is read; `never` must not, and stands for something outside of the
    document. `same_bytes` is false for the few that cannot be written without randomness.
    """

    name: str
    filename: str
    write: Callable[[Path], None]
    why: str
    outcome: Outcome
    errors: ErrorTypes = ()
    contains: str | None = None
    never: str | None = None
    same_bytes: bool = True

    def write_into(self, folder: Path) -> Path:
        """Write the document under its own name into *folder*, which must exist."""
        path = folder / self.filename
        self.write(path)
        return path


def fails(
    name: str, filename: str, write: Callable[[Path], None], why: str, errors: ErrorTypes, *, never: str | None = None
) -> HostileCase:
    """A document that no converter can read, or should."""
    return HostileCase(
        name=name, filename=filename, write=write, why=why, outcome=Outcome.FAILS, errors=errors, never=never
    )


def succeeds(
    name: str,
    filename: str,
    write: Callable[[Path], None],
    why: str,
    contains: str,
    *,
    errors: ErrorTypes = (),
    never: str | None = None,
) -> HostileCase:
    """A strange but sound document: *contains* has to be found in it. With *errors* it may also be refused."""
    return HostileCase(
        name=name,
        filename=filename,
        write=write,
        why=why,
        outcome=Outcome.EITHER if errors else Outcome.SUCCEEDS,
        errors=errors,
        contains=contains,
        never=never,
    )


def content(data: bytes) -> Callable[[Path], None]:
    """A writer of *data* as it is."""

    def write(path: Path) -> None:
        path.write_bytes(data)

    return write
