"""Links in events: to files, and to whole bodies that are too long to be sent.

A link that cannot be made is left out of the event and logged: receivers can still fetch by id with an API key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from blocks.catalog import Artifact
from blocks.errors import WaybillError
from blocks.links import MAX_LIFETIME, Links
from blocks.settings import Settings

# The last attempt is made three days after the event, and then a person may have to act; later the API makes a new link
# for the file's id.
DOWNLOAD_LIFETIME = timedelta(days=7)

_LOG = logging.getLogger("waybill.webhooks")


class EventLinks:
    """Makes links for events; none when *links* is None."""

    def __init__(self, links: Links | None) -> None:
        self._links = links

    @classmethod
    def of(cls, settings: Settings) -> EventLinks:
        """Return the links that *settings* allow. Never fails: a problem is logged."""
        try:
            links = Links.of(settings)
            links.require_keys()
        except WaybillError as error:
            _LOG.warning("webhooks have no links: %s", error.message)
            return cls(None)
        return cls(links)

    def to_file(self, artifact: Artifact) -> str | None:
        """Return a URL from which plain curl gets the file; None when no link can be made."""
        return self._made(lambda links: links.to_download(artifact, DOWNLOAD_LIFETIME).url)

    def to_payload(self, event_id: str) -> str | None:
        """Return a URL from which plain curl gets the whole event; None when no link can be made."""
        return self._made(lambda links: links.to_event(event_id, MAX_LIFETIME).url)

    def _made(self, make: Callable[[Links], str]) -> str | None:
        if self._links is None:
            return None
        try:
            return make(self._links)
        except WaybillError as error:
            _LOG.warning("an event has no link: %s", error.message)
            return None
