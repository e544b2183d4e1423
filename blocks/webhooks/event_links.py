"""The links in what consumers are told: to files, and to what was too long to be sent.

A link that cannot be made (no keys to sign with, an address that cannot be one) is left out of the event and told in
the log: consumers can still ask by id with a key of their own, and no run fails for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from blocks.catalog import Artifact
from blocks.errors import WaybillError
from blocks.links import MAX_LIFETIME, Links
from blocks.settings import Settings

# The last attempt comes three days after the event, and then somebody has to look at it; whoever takes longer asks for
# a fresh link by the file's id.
DOWNLOAD_LIFETIME = timedelta(days=7)

_LOG = logging.getLogger("waybill.webhooks")


class EventLinks:
    """Makes links for events; *links* None: there are none to be made."""

    def __init__(self, links: Links | None) -> None:
        self._links = links

    @classmethod
    def of(cls, settings: Settings) -> EventLinks:
        """Links as the environment has them; never fails."""
        try:
            links = Links.of(settings)
            links.require_keys()
        except WaybillError as error:
            _LOG.warning("webhooks will carry no links: %s", error.message)
            return cls(None)
        return cls(links)

    def to_file(self, artifact: Artifact) -> str | None:
        """An address from which plain curl gets the file; None where there can be none."""
        return self._made(lambda links: links.to_download(artifact, DOWNLOAD_LIFETIME).url)

    def to_payload(self, event_id: str) -> str | None:
        """An address from which plain curl gets the whole of an event; None where there can be none."""
        return self._made(lambda links: links.to_event(event_id, MAX_LIFETIME).url)

    def _made(self, make: Callable[[Links], str]) -> str | None:
        if self._links is None:
            return None
        try:
            return make(self._links)
        except WaybillError as error:
            _LOG.warning("an event goes out without its link: %s", error.message)
            return None
