"""Take a file from a link: what is it, and under which name may it be written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import httpx

from blocks.errors import InvalidOptions
from blocks.hand_over.connection import split_url
from blocks.hand_over.control import ask
from blocks.hand_over.patience import DEFAULT_PATIENCE_SECONDS
from blocks.naming import clean_display_name

# RFC 6266: the extended form first, which holds names in every language.
_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*UTF-8''([^;\s]+)", re.IGNORECASE)
_PLAIN_NAME = re.compile(r'filename\s*=\s*"([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Link:
    """The address of a download, and the token that opens it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Link(url={self.url!r})"


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What a link leads to: the name for the content, without any path, and its size if the gateway knows it."""

    filename: str
    content_size: int | None


def parse_link(text: str) -> Link:
    """Return address and token of a link, as `waybill send` prints it. Raises `InvalidOptions`."""
    split_url(text)
    parts = urlsplit(text)
    tokens = parse_qs(parts.query).get("token", [])
    if len(tokens) != 1:
        raise InvalidOptions("this link has no token: it ends with ?token= and letters; put it in quotes in a shell")
    return Link(url=urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), token=tokens[0])


async def look(client: httpx.AsyncClient, link: Link, *, patience_seconds: float = DEFAULT_PATIENCE_SECONDS) -> Offered:
    """Return what *link* leads to, without beginning the transfer. Raises what a refusal stands for."""
    headers = {"Authorization": f"Bearer {link.token}"}
    answer = await ask(client, "HEAD", link.url, headers=headers, patience_seconds=patience_seconds)
    size = answer.headers.get("Waybill-Content-Size", "")
    return Offered(
        filename=_name(answer.headers.get("Content-Disposition", "")),
        content_size=int(size) if size.isdecimal() and len(size) < 20 else None,
    )


def _name(disposition: str) -> str:
    extended, plain = _EXTENDED_NAME.search(disposition), _PLAIN_NAME.search(disposition)
    name = unquote(extended[1], errors="replace") if extended else plain[1] if plain else ""
    # Cleaned once more here: the name is the sender's, and what is written stays in the folder that the receiver chose.
    return clean_display_name(clean_display_name(name).removesuffix(".age"))
