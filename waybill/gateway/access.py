"""Who may come in: API keys, what they allow, and how often.

Owns the order of the questions: has the key the form of one (nothing is looked up before), is it a known one that
still works, has it the scope, does it come too often. A key is looked up for every request, so a revoked one opens
nothing from the next request on. Limits hold for one gateway process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from blocks.access import Actor, ApiKey, PresentedKey, parse_key, record, record_key_use
from blocks.catalog import Catalog
from waybill.gateway.errors import HttpError
from waybill.gateway.http.rate_limit import RateLimit
from waybill.gateway.lookups import Lookups
from waybill.gateway.server.request_log import request_id

# Wrong keys from one address, after which they are told to come later: a program with an old key in its settings is
# slowed down. A right one is let in all the same, since behind a proxy all clients have one address.
_WRONG_KEYS_PER_MINUTE = 60
# Refusals of one key that are recorded; more of the same say nothing new and fill the log.
_REFUSALS_RECORDED_PER_MINUTE = 60
# How often the same use is noted: what is looked for is who uses a key, and from where.
_NOTED_EVERY_SECONDS = 3600.0
# Keys and addresses that are remembered for that; beyond it some are noted earlier than needed.
_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class Caller(Actor):
    """Who asks; without *key*, by a link."""

    key: ApiKey | None

    @property
    def namespace(self) -> str:
        """What this caller's `Idempotency-Key`s are its own in."""
        return self.key.key_id if self.key else self.actor


class Gate:
    """Lets in who has a key. *requests_per_minute* holds for keys that have no limit of their own."""

    def __init__(
        self,
        catalog: Catalog,
        lookups: Lookups,
        *,
        requests_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._lookups = lookups
        self._requests_per_minute = requests_per_minute
        self._clock = clock
        self._requests = RateLimit(clock)
        self._wrong_keys = RateLimit(clock)
        self._refusals = RateLimit(clock)
        self._noted: dict[tuple[str, str | None], float] = {}

    async def admit(self, request: Request, scope: str) -> Caller:
        """The caller, who has *scope*. Raises `HttpError` (401, 403, 429) and `CatalogUnavailable`."""
        client = request.client.host if request.client else None
        presented = self._presented(request, client)
        key = await self._lookups.key(presented.key_id)
        if key is None or not presented.is_of(key):
            raise self._wrong(client, "this API key is not known here")
        caller = Caller(actor=f"key:{key.key_id}", client=client, request_id=request_id.get(), key=key)
        request.state.actor = caller.actor
        refusal = self._refusal(key, scope)
        if refusal is not None:
            if not self._refusals.take(key.key_id, _REFUSALS_RECORDED_PER_MINUTE):
                why = "revoked or expired" if not key.usable else f"without the scope {scope}"
                await self._lookups.record(caller.entry("key_refused", detail={"why": why, "path": request.url.path}))
            raise refusal
        await self._note_use(key, caller)
        wait = self._requests.take(key.key_id, key.requests_per_minute or self._requests_per_minute)
        if wait:
            raise _too_often(wait)
        return caller

    def _presented(self, request: Request, client: str | None) -> PresentedKey:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if not credentials or scheme.lower() != "bearer":
            raise _not_authenticated("this path wants an API key: 'Authorization: Bearer wb_...'")
        presented = parse_key(credentials.strip())
        if presented is None:
            raise self._wrong(client, "this is not an API key of Waybill")
        return presented

    def _wrong(self, client: str | None, message: str) -> HttpError:
        wait = self._wrong_keys.take(client or "", _WRONG_KEYS_PER_MINUTE)
        return _too_often(wait) if wait else _not_authenticated(message)

    def _refusal(self, key: ApiKey, scope: str) -> HttpError | None:
        if not key.usable:
            return _not_authenticated("this API key was revoked or has expired")
        if not key.allows(scope):
            return HttpError(
                403,
                "ScopeMissing",
                f"this API key has not the scope {scope}",
                detail={"wanted": scope, "scopes": list(key.scopes)},
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return None

    async def _note_use(self, key: ApiKey, caller: Caller) -> None:
        now, use = self._clock(), (key.key_id, caller.client)
        if now - self._noted.get(use, -_NOTED_EVERY_SECONDS) < _NOTED_EVERY_SECONDS:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[use] = now  # before it is true, so that of many requests at once only one does it
        try:
            async with self._catalog.transaction() as connection:
                await record_key_use(connection, key.key_id)
                await record(connection, caller.entry("key_used"))
        except BaseException:
            self._noted.pop(use, None)
            raise


def _not_authenticated(message: str) -> HttpError:
    # RFC 6750 section 3: the challenge of the scheme.
    return HttpError(401, "NotAuthenticated", message, headers={"WWW-Authenticate": "Bearer"})


def _too_often(wait_seconds: float) -> HttpError:
    seconds = max(1, round(wait_seconds + 0.5))
    return HttpError(
        429,
        "TooManyRequests",
        f"too many requests; come again in {seconds} s",
        detail={"retry_after_seconds": seconds},
        headers={"Retry-After": str(seconds)},
    )
