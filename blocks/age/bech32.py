"""Bech32: how age writes keys as text.

Implements BIP 173 without its limit of 90 characters (C2SP age.md, "Conventions used in this document"). Refuses mixed
case, wrong checksums and padding that is not zero. Which prefix and which case a key needs is decided by its type.
"""

from __future__ import annotations

from collections.abc import Iterable

# BIP 173, "Bech32": the 32 characters by value; chosen there so that similar looking ones differ in one bit.
_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
# BIP 173, "Checksum": the generator of the BCH code, which finds any four wrong characters.
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARACTERS = 6
# The longest key of the format, a post-quantum recipient, has 1,959. A whole file in one line is no key, and would take
# long to look at.
_MOST_CHARACTERS = 4096


def encode_bech32(prefix: str, value: bytes) -> str:
    """Return *value* under the lower-case *prefix*, as lower-case text."""
    data = _regroup(value, 8, 5)
    if (left := len(value) * 8 % 5) != 0:
        data.append((value[-1] << (5 - left)) & 31)
    remainder = _polymod([*_expanded(prefix), *data, *([0] * _CHECKSUM_CHARACTERS)]) ^ 1
    checksum = [(remainder >> 5 * (5 - place)) & 31 for place in range(_CHECKSUM_CHARACTERS)]
    return prefix + "1" + "".join(_ALPHABET[value] for value in (*data, *checksum))


def decode_bech32(text: str) -> tuple[str, bytes] | None:
    """Return the lower-case prefix and the bytes of *text*; None where that is not Bech32."""
    if len(text) > _MOST_CHARACTERS or not text.isascii():
        return None
    lower = text.lower()
    if text not in {lower, text.upper()}:
        return None
    prefix, separator, characters = lower.rpartition("1")
    if not separator or not prefix or len(characters) < _CHECKSUM_CHARACTERS:
        return None
    if any(not 33 <= ord(character) <= 126 for character in prefix):
        return None
    if any(character not in _VALUES for character in characters):
        return None
    data = [_VALUES[character] for character in characters]
    if _polymod([*_expanded(prefix), *data]) != 1:
        return None
    return _with_bytes(prefix, data[:-_CHECKSUM_CHARACTERS])


def _with_bytes(prefix: str, data: list[int]) -> tuple[str, bytes] | None:
    left = len(data) * 5 % 8
    # A whole character too many, or padding bits that are set, would give one key several texts.
    if left >= 5 or (left and data[-1] & ((1 << left) - 1)):
        return None
    return prefix, bytes(_regroup(data, 5, 8))


def _regroup(values: Iterable[int], from_bits: int, to_bits: int) -> list[int]:
    """Whole groups of *to_bits*; what is left over at the end is not among them."""
    groups: list[int] = []
    held = held_bits = 0
    for value in values:
        held = (held << from_bits | value) & 0xFFFF  # never more than 7 + 8 bits are held
        held_bits += from_bits
        while held_bits >= to_bits:
            held_bits -= to_bits
            groups.append(held >> held_bits & ((1 << to_bits) - 1))
    return groups


def _expanded(prefix: str) -> list[int]:
    codes = [ord(character) for character in prefix]
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for place, coefficient in enumerate(_GENERATOR):
            if top >> place & 1:
                checksum ^= coefficient
    return checksum
