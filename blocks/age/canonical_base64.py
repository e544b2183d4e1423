"""Base 64 without padding, one text for one value.

Implements the encoding that age uses throughout its header (C2SP age.md, "Conventions used in this document": RFC 4648
section 4, no ``=``, canonical by section 3.5). Refuses everything that would not be encoded like this again.
"""

from __future__ import annotations

import binascii


def encode_base64(value: bytes) -> str:
    """Return the canonical text of *value*."""
    return binascii.b2a_base64(value, newline=False).rstrip(b"=").decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Return the bytes that *text* is the canonical encoding of; None for any other text."""
    try:
        value = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except ValueError:  # includes binascii.Error, and characters outside of ASCII
        return None
    # The decoder is lenient: it skips foreign characters and drops surplus bits. Bytes that have several texts would
    # make a header malleable: a changed file that still authenticates.
    return value if encode_base64(value) == text else None
