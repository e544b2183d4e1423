"""Detection of the character encoding of text files; pure.

Owns the order of evidence: byte order mark, zero bytes of UTF-16, escapes of ISO 2022, strict UTF-8 over the file, then
statistics over lines that are not ASCII. Reads in bounded memory, so that large tables are not loaded for it.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from blocks.filetype.text import text_encoding
from tasks.conversion.plain.legacy_codecs import decisive_lines, guess
from tasks.losses import loss

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
# Lines that are not ASCII, for the statistics.
_SAMPLE_BYTES = 32 << 10
# ISO 2022: Japanese in seven bits, which would pass as ASCII.
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
# Up to this share of broken sequences, a file is damaged UTF-8 rather than another encoding.
_MAX_BROKEN_SHARE = 0.05
_FALLBACK = "cp1252"
# Names of character sets that mails and pages use and Python does not have, without "x-".
_OTHER_NAMES = {
    "mac-ce": "mac-latin2",
    "mac-ukrainian": "mac-cyrillic",
    "iso-8859-8-i": "iso-8859-8",
    "sjis": "cp932",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "unicode-1-1-utf-8": "utf-8",
}


@dataclass(frozen=True)
class Encoding:
    """A Python codec name, and the warnings for people if reading with it may not be exact."""

    codec: str
    warnings: tuple[str, ...] = ()


def codec_of(charset: str) -> str | None:
    """Return the Python codec that a person, a mail or a page calls *charset*; None for an unknown name."""
    name = charset.strip().lower()
    bare = name.removeprefix("x-")
    for wanted in (name, _OTHER_NAMES.get(bare, bare)):
        try:
            b"".decode(wanted)  # Python's codecs are not all of text
            return codecs.lookup(wanted).name
        except LookupError:
            continue
    return None


def find_encoding(path: Path, wanted: str | None = None) -> Encoding:
    """Return the encoding of the text file at *path*; a known one that is *wanted* overrides detection."""
    if wanted:
        return Encoding(codec_of(wanted) or wanted)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    marked = text_encoding(head)
    if head.isascii() and _ISO_2022_JP.search(head):
        return Encoding("iso2022_jp")
    if marked not in (None, "utf-8"):
        return Encoding(marked)
    broken, multibyte, sample = _scan_utf8(path)
    if not broken:
        return Encoding("utf-8")
    if broken <= multibyte * _MAX_BROKEN_SHARE:
        return Encoding("utf-8", loss("bytes", broken))
    found = guess(sample)
    codec = found.codec if found else _FALLBACK
    warning = f"the text is not UTF-8; its encoding was guessed, and it was read as {codec}"
    if found and found.rival:
        warning += f", though {found.rival} is nearly as likely"
    return Encoding(codec, (warning,))


def guess_legacy_codec(sample: bytes) -> str:
    """Return the likeliest 8-bit or East Asian codec of *sample*, which should have lines with non-ASCII bytes only."""
    found = guess(sample)
    return found.codec if found else _FALLBACK


def _scan_utf8(path: Path) -> tuple[int, int, bytes]:
    """Return the counts of broken and of valid multi-byte sequences, and a sample of the lines with non-ASCII bytes."""
    broken = multibyte = 0
    sample = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if len(sample) < _SAMPLE_BYTES and not chunk.isascii():
                sample += b"".join(decisive_lines(chunk))[:_SAMPLE_BYTES]
            text = decoder.decode(chunk)
            if not text.isascii():
                # A replacement character in the file itself is valid UTF-8.
                lost = max(0, text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd"))
                broken += lost
                multibyte += sum(not part.isascii() for part in text.split()) - lost
    broken += decoder.decode(b"", final=True).count("\ufffd")
    return broken, max(multibyte, 0), bytes(sample)
