"""Make and check links: URLs that work with plain curl, for one file, until a time.

Owns the form of a link, which begins with `WAYBILL_PUBLIC_URL`, and its lifetime, which never exceeds its file's. A
link is a bearer credential: every holder may read that file, so it is treated like a password and never logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from blocks.catalog import Artifact
from blocks.durations import format_duration
from blocks.errors import InvalidOptions
from blocks.links.public_url import check_public_url, public_url
from blocks.links.signing_keys import LinkKeys
from blocks.links.tokens import DOWNLOAD, MAX_LIFETIME, READ_EVENT, Grant, check, issue
from blocks.runtime.clock import Clock, utc_now
from blocks.settings import Settings
from blocks.storage import Backend

DOWNLOAD_PATH = "/api/v1/files/download"
EVENT_PATH = "/api/v1/webhooks/events"

# S3 refuses a longer lifetime of a presigned URL.
MAX_DIRECT_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A URL to share, when it expires, and whether that is earlier than requested (`capped`)."""

    url: str = field(repr=False)
    expires_at: datetime
    capped: bool


class Links:
    """Makes and checks links. *base_url* is the gateway's URL as seen from outside."""

    def __init__(self, keys: LinkKeys, base_url: str, *, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._base = check_public_url(base_url)
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return links with the keys and the URL of *settings*. Raises `InvalidSettings`."""
        return cls(LinkKeys(settings.resolved_link_keys_file), public_url(settings))

    @property
    def base_url(self) -> str:
        """The gateway's URL as seen from outside, without a slash at its end."""
        return self._base

    def require_keys(self) -> None:
        """Check that the signing keys are usable; create missing ones. Raises `InvalidSettings`, `StorageFull`."""
        self._keys.signing_key()

    def to_download(self, artifact: Artifact, lifetime: timedelta) -> Link:
        """Return a link to the content of *artifact*. It expires with the file, if that is earlier.

        Raises `InvalidOptions` for a lifetime of more than `MAX_LIFETIME` or a file that is about to expire, and
        `InvalidSettings` when there are no keys to sign with.
        """
        if lifetime > MAX_LIFETIME:
            raise InvalidOptions(f"a link lasts for {format_duration(MAX_LIFETIME)} at most; request less")
        wanted = self._clock() + lifetime
        end = _end_of(artifact, wanted)
        return self._link(DOWNLOAD, DOWNLOAD_PATH, str(artifact.file_id), end, capped=end < wanted)

    def to_event(self, event_id: str, lifetime: timedelta) -> Link:
        """Return a link to the whole of an event that was too long to send. Raises like `to_download`."""
        return self._link(READ_EVENT, EVENT_PATH, event_id, self._clock() + lifetime, capped=False)

    def check_event(self, token: str, event_id: str) -> Grant:
        """Return what *token* allows with this event. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`."""
        return check(token, keys=self._keys.verifying_keys(), scope=READ_EVENT, subject=event_id, clock=self._clock)

    def check_download(self, token: str, file_id: UUID) -> Grant:
        """Return what *token* allows with this file. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`."""
        keys = self._keys.verifying_keys()
        return check(token, keys=keys, scope=DOWNLOAD, subject=str(file_id), clock=self._clock)

    def _link(self, scope: str, path: str, subject: str, end: datetime, *, capped: bool) -> Link:
        key = self._keys.signing_key()
        token, grant = issue(key=key, scope=scope, subject=subject, expires_at=end, clock=self._clock)
        return Link(url=f"{self._base}{path}/{subject}?token={token}", expires_at=grant.expires_at, capped=capped)


def direct_link(backend: Backend, artifact: Artifact, lifetime: timedelta, *, clock: Clock = utc_now) -> Link | None:
    """Return a link signed by the storage itself, so that the bytes do not pass through Waybill.

    None when the file is stored encrypted or the storage signs no links. Such a link cannot be revoked with Waybill's
    keys. Blocks. Raises `InvalidOptions` for a lifetime of more than `MAX_DIRECT_LIFETIME`.
    """
    if lifetime > MAX_DIRECT_LIFETIME:
        raise InvalidOptions(f"a direct link lasts for {format_duration(MAX_DIRECT_LIFETIME)} at most; request less")
    if artifact.encrypted_for is not None:
        return None
    now = clock()
    lasting = _end_of(artifact, now + lifetime) - now
    url = backend.presign(
        artifact.location, expires_in=lasting, filename=artifact.filename, media_type=artifact.media_type
    )
    return None if url is None else Link(url=url, expires_at=now + lasting, capped=lasting < lifetime)


def _end_of(artifact: Artifact, wanted: datetime) -> datetime:
    """Return the end of a link requested until *wanted*: not after its file's, unless that is pinned."""
    return wanted if artifact.kept else min(wanted, artifact.expires_at)
