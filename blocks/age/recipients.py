"""Recipients and identities: wrap a file key in a header, and unwrap it.

Implements C2SP age.md, "Recipient stanza" and what "Native recipient types" says on mixing them. "Not my key" means to
try the next identity; every other failure is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blocks.age import hybrid, scrypt
from blocks.age.attachment import Attachment
from blocks.age.header import MAX_STANZAS, Header, Stanza, make_header, parse_header
from blocks.errors import InvalidKey, NoMatchingIdentity


class Recipient(Protocol):
    """Wraps a file key in stanzas for one key pair or passphrase."""

    def wrap(self, file_key: bytes) -> list[Stanza]:
        """Return stanzas from which only this recipient's identity gets the file key."""
        ...


class Identity(Protocol):
    """Unwraps an opaque file key from a stanza."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return the file key from the stanza that is for this identity; None when there is none.

        Raises `MalformedAgeFile` (part="header") for stanzas of its type that break the type's rules.
        """
        ...


def wrap_for(recipients: Sequence[Recipient], file_key: bytes, attachment: Attachment | None = None) -> Header:
    """Return a header from which each of *recipients* gets the file key, and the text of *attachment* with it.

    Raises `InvalidKey` for none, for too many, and for mixtures that would undo what one of them promises.
    """
    stanzas = [stanza for recipient in recipients for stanza in recipient.wrap(file_key)]
    if not 1 <= len(stanzas) <= MAX_STANZAS:
        raise InvalidKey(f"a file has 1 to {MAX_STANZAS} recipients, not {len(stanzas)}")
    types = {stanza.type for stanza in stanzas}
    if scrypt.TYPE in types and len(stanzas) > 1:
        # A reader who opens it with the passphrase concludes that its writer knew the passphrase.
        raise InvalidKey("a passphrase must be the only recipient of a file")
    if hybrid.TYPE in types and len(types) > 1:
        # The file would be as weak as its weakest stanza, while its owner counts on the strongest.
        raise InvalidKey("post-quantum recipients (age1pq1...) cannot share a file with others")
    if attachment is not None:
        stanzas.append(attachment.seal(file_key))
    return make_header(stanzas, file_key)


def open_header(header: Header, identities: Sequence[Identity]) -> bytes:
    """Return the file key, from the first of *identities* that has a stanza; the header is authenticated with it.

    Raises `NoMatchingIdentity`, `AuthenticationFailed` (part="header") when the header was changed, and
    `MalformedAgeFile` (part="header") for stanzas that break the rules.
    """
    scrypt.refuse_mixed_scrypt(header.stanzas)
    for identity in identities:
        if (file_key := identity.unwrap(header.stanzas)) is not None:
            header.authenticate(file_key)
            return file_key
    if any(stanza.type == scrypt.TYPE for stanza in header.stanzas):
        raise NoMatchingIdentity("this file is sealed with a passphrase, and no passphrase at hand is the right one")
    raise NoMatchingIdentity(
        f"none of the keys at hand ({len(identities)}) opens this file, which has {len(header.stanzas)} recipients; "
        "name the identity of one of them"
    )


def rewrap(
    header_bytes: bytes,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    attachment: Attachment | None = None,
) -> bytes:
    """Return a header for *recipients* in place of *header_bytes*; the payload behind it stays as it is.

    Nothing but the file key is taken over: what the old header says to its own readers goes no further. A copy of the
    old header still opens the payload. Raises like `parse_header`, `open_header` and `wrap_for`.
    """
    file_key = open_header(parse_header(header_bytes), identities)
    return wrap_for(recipients, file_key, attachment).encode()
