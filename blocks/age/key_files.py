"""Keys in files, as age-keygen writes them. No error quotes a line: in the wrong file it may be a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from blocks.age.hybrid import HybridIdentity, HybridRecipient
from blocks.age.x25519 import X25519Identity, X25519Recipient
from blocks.errors import InvalidKey

KeyT = TypeVar("KeyT")


def parse_recipient(text: str) -> X25519Recipient | HybridRecipient:
    """Return the recipient of an ``age1...`` text. Raises `InvalidKey`."""
    return (HybridRecipient if text.startswith("age1pq1") else X25519Recipient).from_text(text)


def parse_identity(text: str) -> X25519Identity | HybridIdentity:
    """Return the identity of an ``AGE-SECRET-KEY-...`` text. Raises `InvalidKey`, which never repeats the text."""
    return (HybridIdentity if text.startswith("AGE-SECRET-KEY-PQ-1") else X25519Identity).from_text(text)


def parse_recipients(text: str) -> list[X25519Recipient | HybridRecipient]:
    """Return the recipients in a file, one a line, without ``#`` comments. Raises `InvalidKey`, also where none is."""
    return _parse_lines(text, parse_recipient, "recipient")


def parse_identities(text: str) -> list[X25519Identity | HybridIdentity]:
    """Return the identities in a file, one a line, without ``#`` comments. Raises `InvalidKey`, also where none is."""
    return _parse_lines(text, parse_identity, "identity")


def identity_file(identity: X25519Identity | HybridIdentity, created: datetime) -> str:
    """Return the file that age-keygen would have written for *identity*. Raises `ValueError` for a naive *created*."""
    if created.tzinfo is None:
        raise ValueError("created needs a time zone")
    # RFC 3339 to the second, with Z for UTC.
    moment = created.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return f"# created: {moment}\n# public key: {identity.recipient.text}\n{identity.text}\n"


def _parse_lines(text: str, parse: Callable[[str], KeyT], what: str) -> list[KeyT]:
    keys: list[KeyT] = []
    # Not splitlines(): that also splits at characters which no other reader of these files takes for a line's end.
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.removesuffix("\r")
        if not content or content.startswith("#"):
            continue
        try:
            keys.append(parse(content))
        except InvalidKey as exc:
            raise InvalidKey(f"line {number}: {exc.message}", line=number) from exc
    if not keys:
        raise InvalidKey(f"there is no {what} in it")
    return keys
