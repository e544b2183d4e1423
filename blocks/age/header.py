"""The header of an age file: stanzas that wrap the file key, and a MAC over them.

Implements C2SP age.md, "Header" with its ABNF, exactly: whatever is accepted is encoded to the same bytes again. What
is in a stanza is up to the recipient types; here is only the check that those of key pairs share.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from blocks.age.canonical_base64 import decode_base64, encode_base64
from blocks.age.file_key import WRAPPED_KEY_BYTES, derive_key
from blocks.errors import AuthenticationFailed, MalformedAgeFile

VERSION_LINE = b"age-encryption.org/v1\n"
# The format has no limit, but each stanza costs a key exchange for each identity at hand: 16 ms
# for 512 of X25519, 54 ms for post-quantum ones.
MAX_STANZAS = 512
# 512 stanzas of the largest native type (mlkem768x25519, 1.6 kB) and some room. Bounds what a
# reader holds of an endless header.
MAX_HEADER_BYTES = 1 << 20
# "Recipient stanza": bodies are wrapped at 64 columns, and end with a line that is shorter.
_COLUMNS = 64
_MAC_MARK = b"---"
# ABNF: end = "--- " 43base64char LF; 43 characters hold the 32 bytes of HMAC-SHA-256.
_MAC_BYTES = 32
# With the line feeds before and after.
_MAC_LINE_BYTES = 1 + len(_MAC_MARK) + 1 + 43 + 1
_ARGUMENT = re.compile(rb"[!-~]+")  # ABNF: argument = 1*VCHAR


@dataclass(frozen=True)
class Stanza:
    """The file key, wrapped for one recipient. The first argument says how."""

    arguments: tuple[str, ...]
    body: bytes

    @property
    def type(self) -> str:
        return self.arguments[0]

    def encode(self) -> bytes:
        """Return the stanza's lines, the last of them shorter than 64 columns."""
        text = encode_base64(self.body)
        lines = [text[start : start + _COLUMNS] for start in range(0, len(text) + 1, _COLUMNS)]
        return "\n".join((" ".join(("->", *self.arguments)), *lines, "")).encode("ascii")


@dataclass(frozen=True)
class Header:
    """All stanzas of a file, in their order, and the MAC, which the file key verifies."""

    stanzas: tuple[Stanza, ...]
    mac: bytes

    def encode(self) -> bytes:
        """Return the bytes at the beginning of the file, through the line feed after the MAC."""
        return _authenticated_part(self.stanzas) + f" {encode_base64(self.mac)}\n".encode("ascii")

    def authenticate(self, file_key: bytes) -> None:
        """Check the MAC. Raises `AuthenticationFailed` (part="header"): nothing of this file can be trusted."""
        # In constant time: how much of a forged MAC is right must not be found out by trying.
        if not hmac.compare_digest(self.mac, _mac(file_key, self.stanzas)):
            raise AuthenticationFailed(
                "the age file's header does not fit its file key: it was changed after it was written; "
                "get the file again from where it comes from",
                part="header",
            )


def make_header(stanzas: Sequence[Stanza], file_key: bytes) -> Header:
    """Return a header of *stanzas* that all wrap *file_key*, with its MAC."""
    return Header(tuple(stanzas), _mac(file_key, stanzas))


def parse_header(encoded: bytes) -> Header:
    """Return the header that *encoded* is, from the version line through the MAC's line feed and nothing more.

    Raises `MalformedAgeFile` (part="header") for anything else. The MAC is not checked: that takes the file key.
    """
    if len(encoded) > MAX_HEADER_BYTES:
        raise _too_long()
    if not encoded.startswith(VERSION_LINE):
        raise malformed_header("the version line is not age-encryption.org/v1")
    *lines, rest = encoded[len(VERSION_LINE) :].split(b"\n")
    if rest or not lines:
        raise malformed_header("it ends before its MAC, or goes on after it")
    stanzas: list[Stanza] = []
    position = 0
    while position < len(lines) - 1:
        if len(stanzas) == MAX_STANZAS:
            raise malformed_header(f"it has more than {MAX_STANZAS} stanzas, the most that are read")
        stanza, position = _parse_stanza(lines, position)
        stanzas.append(stanza)
    if not stanzas:
        raise malformed_header("it has no stanza")
    return Header(tuple(stanzas), _parse_mac(lines[-1]))


def read_header(stream: BinaryIO) -> tuple[Header, bytes]:
    """Return the header at the position of *stream*, and its bytes; leaves the stream at the payload's nonce.

    Raises `MalformedAgeFile` (part="header"), and lets the stream's own errors pass. Reads `MAX_HEADER_BYTES` at most.
    """
    encoded = bytearray()
    while True:
        line = stream.readline(MAX_HEADER_BYTES + 1 - len(encoded))
        encoded += line
        if (length := header_length(encoded, searched=len(encoded) - len(line))) is not None:
            return parse_header(bytes(encoded[:length])), bytes(encoded[:length])
        if not line:
            raise malformed_header("the file ends before the header does")


def header_length(beginning: bytes | bytearray, *, searched: int = 0) -> int | None:
    """Return how many bytes of a file's *beginning* are its header; None while its end is not among them.

    *searched* bytes were looked through before. Raises `MalformedAgeFile` as soon as it cannot become a header.
    """
    if not beginning.startswith(VERSION_LINE[: len(beginning)]):
        raise malformed_header("the version line is not age-encryption.org/v1")
    # A line that begins like this is the last one of the header: neither arguments nor base64 can make one.
    mark = beginning.find(b"\n" + _MAC_MARK, max(0, searched - _MAC_LINE_BYTES))
    if mark >= 0:
        if (end := beginning.find(b"\n", mark + 1)) >= 0:
            return end + 1
        if len(beginning) - mark >= _MAC_LINE_BYTES:
            raise malformed_header("the last line is not a MAC")
    if len(beginning) > MAX_HEADER_BYTES:
        raise _too_long()
    return None


def wrapped_key(stanza: Stanza, share_bytes: int, share_name: str) -> tuple[bytes, bytes]:
    """Return share and wrapped file key of a key pair's stanza. Raises `MalformedAgeFile` if it holds anything else."""
    share = decode_base64(stanza.arguments[1]) if len(stanza.arguments) == 2 else None
    if share is None or len(share) != share_bytes:
        raise malformed_header(f"an {stanza.type} stanza does not hold one {share_name} of {share_bytes} bytes")
    # Before anything is decrypted: longer bodies can be made to fit several keys (a partitioning oracle).
    if len(stanza.body) != WRAPPED_KEY_BYTES:
        raise malformed_header(f"an {stanza.type} stanza wraps a key of {len(stanza.body)} bytes instead of 32")
    return share, stanza.body


def malformed_header(reason: str) -> MalformedAgeFile:
    """Return the error for a header that is not one, or for a stanza in it that breaks its type's rules."""
    return MalformedAgeFile(f"not a well-formed age file: in its header, {reason}", part="header")


def _too_long() -> MalformedAgeFile:
    return malformed_header(f"there is no end within {MAX_HEADER_BYTES} bytes, the most that are read")


def _parse_stanza(lines: Sequence[bytes], position: int) -> tuple[Stanza, int]:
    """Return the stanza that begins at *position*, and the position after it; the last of *lines* is the MAC's."""
    mark, *arguments = lines[position].split(b" ")
    if mark != b"->" or not arguments or not all(map(_ARGUMENT.fullmatch, arguments)):
        raise malformed_header(f"line {position + 2} is not the beginning of a stanza")
    first = position + 1
    position = first
    while position < len(lines) - 1 and len(lines[position]) == _COLUMNS:
        position += 1
    if position == len(lines) - 1 or len(lines[position]) > _COLUMNS:
        raise malformed_header(f"the stanza at line {first + 1} does not end with a line below {_COLUMNS} columns")
    text = b"".join(lines[first : position + 1]).decode("latin-1")
    if (body := decode_base64(text)) is None:
        raise malformed_header(f"the body of the stanza at line {first + 1} is not canonical base64")
    return Stanza(tuple(argument.decode("ascii") for argument in arguments), body), position + 1


def _parse_mac(line: bytes) -> bytes:
    mark, _, text = line.partition(b" ")
    mac = decode_base64(text.decode("latin-1"))
    if mark != _MAC_MARK or mac is None or len(mac) != _MAC_BYTES:
        raise malformed_header("the last line is not a MAC")
    return mac


def _authenticated_part(stanzas: Sequence[Stanza]) -> bytes:
    return VERSION_LINE + b"".join(stanza.encode() for stanza in stanzas) + _MAC_MARK


def _mac(file_key: bytes, stanzas: Sequence[Stanza]) -> bytes:
    """By "Header MAC": HMAC-SHA-256 through the mark of the last line, without the space after it."""
    return hmac.digest(derive_key(file_key, salt=b"", info=b"header"), _authenticated_part(stanzas), "sha256")
