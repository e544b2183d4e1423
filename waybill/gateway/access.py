"""Access control: API keys, their scopes, and rate limits.

Owns the order of the checks: the form of the key (nothing is looked up before), whether it is known and usable, its
scope, its rate. A key is looked up for every request, so a revoked one is refused from the next request on. Rate limits
hold for one gateway process.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from blocks.access import Actor, ApiKey, parse_key, record, record_key_use
from blocks.catalog import Catalog
from waybill.gateway.errors import HttpError
from waybill.gateway.http.rate_limit import RateLimit
from waybill.gateway.lookups import Lookups
from waybill.gateway.request_log import request_id

# Wrong keys from one address, beyond which they are answered 429: slows down a program with an old key. Valid keys are
# admitted all the same, because behind a proxy all clients may have one address.
WRONG_KEYS_PER_MINUTE = 60
# Refusals of one key in the audit log; more of the same add nothing and fill it.
REFUSALS_RECORDED_PER_MINUTE = 60
# How often the same key from the same address is recorded: the audit log shows who uses a key, and from where.
_RECORD_USE_EVERY_SECONDS = 3600.0
# Pairs of key and address that are remembered for that; beyond it some uses are recorded earlier than needed.
_REMEMBERED_USES = 10_000
# In front of a link's id, where places and rates are counted; no API key's id begins like this.
LINK_HOLDER = "link:"


@dataclass(frozen=True, kw_only=True)
class Caller(Actor):
    """The authenticated caller of a request; *key* is None for a signed link."""

    key: ApiKey | None
    link_id: str | None = None
    """Distinguishes signed links; not the token itself."""

    @property
    def namespace(self) -> str:
        """The namespace of this caller's idempotency keys, and the holder of its places."""
        return self.key.key_id if self.key else f"{LINK_HOLDER}{self.link_id}"

    def allows(self, scope: str) -> bool:
        """Return whether the caller's key has *scope*; a link has none."""
        return self.key is not None and self.key.allows(scope)


class Gate:
    """Authenticates keys, checks scopes, limits rates (*requests_per_minute* for keys without a limit of their own)."""

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
        self._recorded_at: dict[tuple[str, str | None], float] = {}

    async def admit(self, request: Request, *scopes: str) -> Caller:
        """Return the caller, whose key has all *scopes*. Raises `HttpError` (401, 403, 429), `CatalogUnavailable`."""
        credentials = bearer_of(request)
        if credentials is None:
            raise not_authenticated("this path needs an API key: send the header 'Authorization: Bearer wb_...'")
        return await self.admit_key(request, credentials, *scopes)

    async def admit_key(self, request: Request, text: str, *scopes: str) -> Caller:
        """Return the caller that presents the API key *text*. Raises like `admit`."""
        client = client_address(request)
        presented = parse_key(text)
        if presented is None:
            raise self._wrong_key(client, "this is not a Waybill API key; create one with 'waybill keys create'")
        key = await self._lookups.key(presented.key_id)
        if key is None or not presented.is_of(key):
            raise self._wrong_key(client, "unknown API key; 'waybill keys list' shows those that exist")
        return await self._admitted(request, key, *scopes)

    async def admit_session(self, request: Request, key_id: str, *scopes: str) -> Caller:
        """Return the caller of a session of the page, which *key_id* began. Raises like `admit`."""
        key = await self._lookups.key(key_id)
        if key is None:
            raise not_authenticated("the API key of this session is gone; sign in with another one")
        return await self._admitted(request, key, *scopes)

    async def _admitted(self, request: Request, key: ApiKey, *scopes: str) -> Caller:
        client = client_address(request)
        caller = Caller(actor=f"key:{key.key_id}", client=client, request_id=request_id.get(), key=key)
        request.state.actor = caller.actor
        if not key.usable:
            await self._record_refusal(key, caller, request, "revoked or expired")
            raise not_authenticated("this API key is revoked or expired; create one with 'waybill keys create'")
        await self.require(request, caller, *scopes)
        await self._record_use(key, caller)
        wait_seconds = self._requests.take(key.key_id, key.requests_per_minute or self._requests_per_minute)
        if wait_seconds:
            raise too_many_requests(wait_seconds)
        return caller

    def admit_link(self, request: Request, token: str, *, actor: str = "link") -> Caller:
        """Return the caller of a link whose *token* has been checked; limits its rate. Raises `HttpError` (429)."""
        request.state.actor = actor
        link_id = hashlib.sha256(token.encode()).hexdigest()[:12]
        wait_seconds = self._requests.take(f"{LINK_HOLDER}{link_id}", self._requests_per_minute)
        if wait_seconds:
            raise too_many_requests(wait_seconds)
        return Caller(
            actor=actor, client=client_address(request), request_id=request_id.get(), key=None, link_id=link_id
        )

    async def require(self, request: Request, caller: Caller, *scopes: str) -> None:
        """Raise `HttpError` (403), and record it, unless the caller's key has all *scopes*."""
        missing = [scope for scope in scopes if not caller.allows(scope)]
        if not missing or caller.key is None:
            return
        await self._record_refusal(caller.key, caller, request, f"without the scope {missing[0]}")
        wanted = " ".join(scopes)
        raise HttpError(
            403,
            "ScopeMissing",
            f"this API key lacks the scope '{missing[0]}'; create one with "
            f"'waybill keys create NAME --scopes {','.join(scopes)}'",
            detail={"wanted": wanted, "scopes": list(caller.key.scopes)},
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{wanted}"'},
        )

    async def _record_refusal(self, key: ApiKey, caller: Caller, request: Request, why: str) -> None:
        if not self._refusals.take(key.key_id, REFUSALS_RECORDED_PER_MINUTE):
            await self._lookups.record(caller.entry("key_refused", detail={"why": why, "path": request.url.path}))

    def _wrong_key(self, client: str | None, message: str) -> HttpError:
        wait_seconds = self._wrong_keys.take(client or "", WRONG_KEYS_PER_MINUTE)
        return too_many_requests(wait_seconds) if wait_seconds else not_authenticated(message)

    async def _record_use(self, key: ApiKey, caller: Caller) -> None:
        now, use = self._clock(), (key.key_id, caller.client)
        if now - self._recorded_at.get(use, -_RECORD_USE_EVERY_SECONDS) < _RECORD_USE_EVERY_SECONDS:
            return
        if len(self._recorded_at) >= _REMEMBERED_USES:
            self._recorded_at.clear()
        self._recorded_at[use] = now  # before it is recorded, so that only one of many concurrent requests does it
        try:
            async with self._catalog.transaction() as connection:
                await record_key_use(connection, key.key_id)
                await record(connection, caller.entry("key_used"))
        except BaseException:
            self._recorded_at.pop(use, None)
            raise


def client_address(request: Request) -> str | None:
    """Return the peer's address; behind a reverse proxy, that of the proxy."""
    return request.client.host if request.client else None


def bearer_of(request: Request) -> str | None:
    """Return the bearer credential of *request*, None without one."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None


def not_authenticated(message: str) -> HttpError:
    """Return a 401 with the challenge that RFC 9110 section 15.5.2 and RFC 6750 section 3 ask for."""
    return HttpError(401, "NotAuthenticated", message, headers={"WWW-Authenticate": "Bearer"})


def link_required(where: str) -> HttpError:
    """Return a 401 for a request without a signed link. *where* says where such links are found."""
    return not_authenticated(f"this path needs a signed link; {where}")


def too_many_requests(wait_seconds: float) -> HttpError:
    """Return a 429 that says when to try again."""
    seconds = max(1, round(wait_seconds + 0.5))
    return HttpError(
        429,
        "TooManyRequests",
        f"too many requests; try again in {seconds} s",
        detail={"retry_after_seconds": seconds},
        headers={"Retry-After": str(seconds)},
    )
