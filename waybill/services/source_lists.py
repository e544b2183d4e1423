"""Lists of sources in custody: for runs of more sources than a run's parameters hold.

Prefect takes 512 KiB of parameters, keeps them with the run and sends them with each of its events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from blocks.access import Actor
from blocks.catalog import Draft
from blocks.custody import Custody
from blocks.errors import InvalidOptions
from blocks.redaction import CUSTODY_SCHEME, LIST_SCHEME, custody_source, list_source
from tasks.sources import check_text
from tasks.sources.source_lists import MEDIA_TYPE, SourceLines, write_list
from waybill.services.files import recorded_upload

# A hundred thousand sources of a kilobyte each, and more of those that are shorter.
MOST_LIST_BYTES = 128 * 2**20
# Key in the metadata of a list that came over HTTP: whether it names anything but files in custody.
NAMES_PLACES = "names_places"
# A run that is interrupted reads its list again when it goes on; a week later it is begun anew.
LIST_PERIOD = timedelta(days=7)
# Replaced when the content is there.
_UNKNOWN_SHA256 = "0" * 64


class ListCheck:
    """Checks a list of sources while it arrives. Counts its *sources*, and notes what they name."""

    def __init__(self, shown: str) -> None:
        self._lines = SourceLines(shown)
        self._shown = shown
        self.sources = 0
        self.names_places = False

    def feed(self, piece: bytes) -> None:
        """Check the lines that *piece* completes. Raises `InvalidOptions`, which names the line."""
        self._check(self._lines.feed(piece))

    def end(self) -> None:
        """Check the last line. Raises `InvalidOptions`, also for a list without a source."""
        self._check(self._lines.end())
        if not self.sources:
            raise InvalidOptions(f"{self._shown} has no source; give one on each line")

    def _check(self, sources: Iterable[str]) -> None:
        for source in sources:
            try:
                if source.startswith(LIST_SCHEME):
                    raise InvalidOptions("a list may not name another list")
                check_text(source)
            except InvalidOptions as error:
                raise InvalidOptions(f"{self._lines.where}: {error.message}") from error
            self.sources += 1
            self.names_places = self.names_places or not source.startswith(CUSTODY_SCHEME)


def list_draft(name: str) -> Draft:
    """Return what is known of a list before its content is: people see it as *name*."""
    return Draft(
        kind="upload",
        filename=name,
        source_file=name,
        document_sha256=_UNKNOWN_SHA256,
        media_type=MEDIA_TYPE,
        keep_for=LIST_PERIOD,
    )


async def store_list(custody: Custody, sources: Sequence[str], *, name: str, by: Actor) -> str:
    """Store *sources* as a list that people see as *name*, and return the source text that names it.

    Raises what `Custody.take` raises.
    """
    content = b"".join(write_list(sources))
    draft = replace(list_draft(name), document_sha256=hashlib.sha256(content).hexdigest())
    artifact = await custody.take(draft, content, make_available=recorded_upload(custody, by=by))
    return list_source(custody_source(artifact.file_id, name))
