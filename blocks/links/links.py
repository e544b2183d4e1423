"""Links to files: an address that works with plain curl, for one file, until a time.

Owns the form of a download link, which begins with `WAYBILL_PUBLIC_URL`, and what it promises: never longer than the
file stays. A link carries its right in itself; whoever has it may read that file, so it is treated like a password and
never logged. Signing is the business of `blocks.links.tokens`, keys that of `blocks.links.signing_keys`.
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

# S3 refuses a presigned URL that is to last longer.
MAX_DIRECT_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Link:
    """An address to give away, until when it works, and whether that is earlier than what was asked for."""

    url: str = field(repr=False)
    expires_at: datetime
    capped: bool


class Links:
    """Makes and checks links. *base_url* is where the gateway can be reached from outside."""

    def __init__(self, keys: LinkKeys, base_url: str, *, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._base = check_public_url(base_url)
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Links as the environment has them. Raises `InvalidSettings`."""
        return cls(LinkKeys(settings.resolved_link_keys_file), public_url(settings))

    @property
    def base_url(self) -> str:
        """Where the gateway can be reached from outside, without a slash at its end."""
        return self._base

    def require_keys(self) -> None:
        """Make sure that there are keys, and that they can be used. Raises `InvalidSettings`, `StorageFull`."""
        self._keys.signing_key()

    def to_download(self, artifact: Artifact, lifetime: timedelta) -> Link:
        """A link to the content of *artifact*. It ends with the file, if that is earlier.

        Raises `InvalidOptions` for a lifetime of more than `MAX_LIFETIME` or a file that is about to expire, and
        `InvalidSettings` when there are no keys to sign with.
        """
        if lifetime > MAX_LIFETIME:
            raise InvalidOptions(f"a link lasts for {format_duration(MAX_LIFETIME)} at most; ask for less")
        wanted = self._clock() + lifetime
        end = _end_of(artifact, wanted)
        token, grant = issue(
            key=self._keys.signing_key(),
            scope=DOWNLOAD,
            subject=str(artifact.file_id),
            expires_at=end,
            clock=self._clock,
        )
        url = f"{self._base}{DOWNLOAD_PATH}/{artifact.file_id}?token={token}"
        return Link(url=url, expires_at=grant.expires_at, capped=end < wanted)

    def to_event(self, event_id: str, lifetime: timedelta) -> Link:
        """A link to the whole of an event that was too long to be sent. Raises `InvalidOptions`, `InvalidSettings`."""
        token, grant = issue(
            key=self._keys.signing_key(),
            scope=READ_EVENT,
            subject=event_id,
            expires_at=self._clock() + lifetime,
            clock=self._clock,
        )
        return Link(url=f"{self._base}{EVENT_PATH}/{event_id}?token={token}", expires_at=grant.expires_at, capped=False)

    def check_event(self, token: str, event_id: str) -> Grant:
        """What *token* allows with this event. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`."""
        return check(token, keys=self._keys.verifying_keys(), scope=READ_EVENT, subject=event_id, clock=self._clock)

    def check_download(self, token: str, file_id: UUID) -> Grant:
        """What *token* allows with this file. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`."""
        keys = self._keys.verifying_keys()
        return check(token, keys=keys, scope=DOWNLOAD, subject=str(file_id), clock=self._clock)


def direct_link(backend: Backend, artifact: Artifact, lifetime: timedelta, *, clock: Clock = utc_now) -> Link | None:
    """A link that the storage itself has signed, so that the bytes do not pass through Waybill.

    None where there can be none: the file is stored encrypted, or the storage signs no links. Such a link cannot be
    revoked with Waybill's keys. Blocks. Raises `InvalidOptions` for a lifetime of more than `MAX_DIRECT_LIFETIME`.
    """
    if lifetime > MAX_DIRECT_LIFETIME:
        raise InvalidOptions(f"a direct link lasts for {format_duration(MAX_DIRECT_LIFETIME)} at most; ask for less")
    if artifact.encrypted_for is not None:
        return None
    now = clock()
    lasting = _end_of(artifact, now + lifetime) - now
    url = backend.presign(
        artifact.location, expires_in=lasting, filename=artifact.filename, media_type=artifact.media_type
    )
    return None if url is None else Link(url=url, expires_at=now + lasting, capped=lasting < lifetime)


def _end_of(artifact: Artifact, wanted: datetime) -> datetime:
    """When a link that is to work until *wanted* ends: not after its file, but a pinned one stays."""
    return wanted if artifact.pinned_at is not None else min(wanted, artifact.expires_at)
