"""Passphrases: scrypt derives a key from one, slowly, so that guessing is slow too.

Implements C2SP age.md, "The scrypt recipient type". The caller limits the work, because the file's writer chooses it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from blocks.age.canonical_base64 import decode_base64, encode_base64
from blocks.age.file_key import WRAPPED_KEY_BYTES, unwrap_file_key, wrap_file_key
from blocks.age.header import Stanza, malformed_header
from blocks.errors import InvalidKey

TYPE = "scrypt"
# What the age command writes: 256 MiB of memory and about a second of one core for each guess.
DEFAULT_LOG_N = 18
# Four times the work of the age command: 1 GiB and some seconds. The writer of a file chooses the number, and with
# it the cost of opening; the format's own examples of too much begin at 23 (8 GiB).
DEFAULT_MAX_LOG_N = 20
# 1 TiB: above every machine, and far below where the parameters of scrypt end.
_MOST_LOG_N = 30
_SALT_BYTES = 16  # "scrypt recipient stanza"
_SALT_LABEL = b"age-encryption.org/v1/scrypt"
_BLOCK_SIZE, _PARALLELISM, _KEY_BYTES = 8, 1, 32
# No machine computes a work factor of three digits, and int() takes its time for long texts.
_LOG_N = re.compile(r"[1-9][0-9]?")


class ScryptRecipient:
    """A passphrase to encrypt with. It must be a file's only recipient: it also authenticates the writer."""

    def __init__(self, passphrase: str, log_n: int = DEFAULT_LOG_N) -> None:
        """*log_n*: the work, as the base-two logarithm of scrypt's N. Raises `InvalidKey` for an empty passphrase."""
        if not 1 <= log_n <= _MOST_LOG_N:
            raise InvalidKey(f"scrypt takes a log_n from 1 to {_MOST_LOG_N}, not {log_n}")
        self._passphrase = _usable(passphrase)
        self._log_n = log_n

    def wrap(self, file_key: bytes) -> list[Stanza]:
        """One stanza, with a salt of its own. Takes the time and memory that *log_n* says."""
        salt = secrets.token_bytes(_SALT_BYTES)
        wrap_key = _derive(self._passphrase, salt, self._log_n)
        return [Stanza((TYPE, encode_base64(salt), str(self._log_n)), wrap_file_key(wrap_key, file_key))]


class ScryptIdentity:
    """A passphrase to decrypt with."""

    def __init__(self, passphrase: str, max_log_n: int = DEFAULT_MAX_LOG_N) -> None:
        """*max_log_n*: the most work that a file may ask for. Raises `InvalidKey` for an empty passphrase."""
        self._passphrase = _usable(passphrase)
        self._max_log_n = max_log_n

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity.unwrap`. Also raises `MalformedAgeFile` for a stanza that asks for too much work."""
        if not any(stanza.type == TYPE for stanza in stanzas):
            return None
        refuse_mixed_scrypt(stanzas)
        salt, log_n, body = _read(stanzas[0])
        if log_n > self._max_log_n:
            # Before any work is done: the file's maker must not be able to use up the reader's memory and time.
            raise malformed_header(
                f"the passphrase asks for 2^{log_n} steps of scrypt, and 2^{self._max_log_n} are the most that are done"
            )
        try:
            wrap_key = _derive(self._passphrase, salt, log_n)
        except MemoryError as exc:
            raise malformed_header(f"the passphrase asks for {1 << log_n >> 10} MiB, more than there is") from exc
        return unwrap_file_key(wrap_key, body)


def refuse_mixed_scrypt(stanzas: Sequence[Stanza]) -> None:
    """Raises `MalformedAgeFile` (part="header") when a scrypt stanza is not the only stanza.

    A reader who opens a file with a passphrase concludes that its writer knew the passphrase; with another stanza next
    to it that would be wrong.
    """
    if len(stanzas) > 1 and any(stanza.type == TYPE for stanza in stanzas):
        raise malformed_header("a passphrase is not the only recipient")


def _read(stanza: Stanza) -> tuple[bytes, int, bytes]:
    """Salt, work factor and wrapped key of a scrypt stanza."""
    if len(stanza.arguments) != 3:
        raise malformed_header(f"a scrypt stanza has {len(stanza.arguments)} arguments instead of 3")
    _, salt_text, log_n_text = stanza.arguments
    salt = decode_base64(salt_text)
    if salt is None or len(salt) != _SALT_BYTES:
        raise malformed_header(f"a scrypt stanza does not hold a salt of {_SALT_BYTES} bytes")
    if _LOG_N.fullmatch(log_n_text) is None:
        raise malformed_header("a scrypt stanza holds a work factor that is not a decimal number of one or two digits")
    # Before anything is decrypted: longer bodies can be made to fit several passphrases (a partitioning oracle).
    if len(stanza.body) != WRAPPED_KEY_BYTES:
        raise malformed_header(f"a scrypt stanza wraps a key of {len(stanza.body)} bytes instead of 32")
    return salt, int(log_n_text), stanza.body


def _derive(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    return Scrypt(salt=_SALT_LABEL + salt, length=_KEY_BYTES, n=1 << log_n, r=_BLOCK_SIZE, p=_PARALLELISM).derive(
        passphrase
    )


def _usable(passphrase: str) -> bytes:
    if not passphrase:
        raise InvalidKey("the passphrase is empty")
    # A passphrase from the environment that is not UTF-8 is used as the bytes that it was.
    return passphrase.encode("utf-8", "surrogateescape")
