"""Access to one transfer: its token, in a header or for plain `curl` in the URL.

Owns the order of the checks: is there a token, is there such a transfer, is the token for it, for this direction and
for its worker. Whether the transfer is still open is checked after that, so an answer discloses nothing to a client
without the token.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from blocks.access import parse_key
from blocks.transfers import Transfer
from blocks.transfers.transfer import Direction
from waybill.gateway.access import Caller, bearer_of, not_authenticated
from waybill.gateway.resources import Resources
from waybill.services.transfers import read_transfer

# Refuses nothing itself: it only adds the scheme to the OpenAPI document.
TRANSFER_TOKEN = HTTPBearer(
    auto_error=False,
    scheme_name="transferToken",
    bearerFormat="JWT",
    description="The token of a transfer: `token` in the answer of `POST /api/v1/transfers`.",
)
TokenParameter = Annotated[
    str | None, Query(description="The transfer's token, for clients that can send no header; it may show in logs.")
]


async def presented_token(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(TRANSFER_TOKEN)],
    token: TokenParameter = None,
) -> str:
    """Return the token that *request* has. Raises `HttpError` (401)."""
    found = token or bearer_of(request)
    if found is None or parse_key(found) is not None:
        raise not_authenticated("this path needs the token of the transfer: 'Authorization: Bearer ...' or ?token=")
    return found


PresentedToken = Annotated[str, Depends(presented_token)]
"""The token of the request; nothing of it has been checked."""


async def admit_token(
    request: Request, resources: Resources, token: str, transfer_id: str, direction: Direction | None
) -> tuple[Transfer, Caller]:
    """Return the transfer that *token* is for, whether it is over or not, and the caller; None: of its own direction.

    Raises `TransferNotFound`, `LinkInvalid` (403) for the token of another transfer, direction or worker, `LinkExpired`
    (410), `HttpError` (429), `CatalogUnavailable`, `InvalidSettings`.
    """
    transfer = await read_transfer(resources.custody.catalog, transfer_id)
    wanted = direction or transfer.direction
    await asyncio.to_thread(resources.transfer_tokens.check, token, transfer_id, wanted, transfer.worker)
    actor = "transfer" if transfer.worker is None else f"worker:{transfer.worker}"
    return transfer, resources.gate.admit_link(request, token, actor=actor)
