"""One source of a run: a single file that is to be processed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from blocks.errors import WaybillError
from tasks.sources.remote import RemoteFile


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file to be processed. `text`, a path or a URL, is how it is shown and recorded in the catalogue.

    `name` is the last part of its path. A source with an `error` cannot be read, for this reason.
    """

    text: str
    path: Path | None = None
    url: str | None = None
    file_id: UUID | None = None
    name: str = field(default="", compare=False)
    # The resolved folder that a local file was found in and must not lead out of.
    within: str | None = field(default=None, compare=False)
    remote: RemoteFile | None = field(default=None, compare=False)
    error: WaybillError | None = field(default=None, compare=False)

    @property
    def identity(self) -> Path | str | UUID:
        """Two sources with the same identity are one file."""
        return self.path or self.url or self.file_id or self.text
