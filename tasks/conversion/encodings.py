"""Detection of the character encoding of text files; pure.

Owns the order of evidence: byte order mark, zero bytes of UTF-16, strict UTF-8 over the whole file, then statistics
over the lines that are not ASCII. Reads in bounded memory, so that large tables are not loaded for it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import InvalidOptions
from blocks.filetype.text import text_encoding
from tasks.losses import loss

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
# Statistics are stable within a few kB of non-ASCII lines; more only costs time (charset-normalizer takes 1 s per MB).
_SAMPLE_BYTES = 32 << 10
# Up to this share of broken sequences, a file is damaged UTF-8 rather than another encoding.
_MAX_BROKEN_SHARE = 0.05
# Codecs of files that people have, the most frequent first. Without a list the detector also proposes codecs of the
# 1980s that fit by chance.
_PLAUSIBLE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
    *("cp874", "iso8859_2", "iso8859_5", "koi8_r", "koi8_u", "cp850", "cp437"),
)
# Short texts in similar codecs differ by less than this in the detector's measure of disorder (0 to 1); then the more
# frequent codec is right more often.
_SAME_DISORDER = 0.02
_FALLBACK = "cp1252"


@dataclass(frozen=True)
class Encoding:
    """A Python codec name, and the warnings for people if reading with it may not be exact."""

    codec: str
    warnings: tuple[str, ...] = ()


def find_encoding(path: Path, wanted: str | None = None) -> Encoding:
    """Return the encoding of the text file at *path*; *wanted* overrides detection. Raises `InvalidOptions`."""
    if wanted:
        try:
            return Encoding(codecs.lookup(wanted).name)
        except LookupError as exc:
            raise InvalidOptions(
                f"option 'encoding' is {wanted!r}, which is no known character encoding; use a name such as utf-8, "
                "cp1252 or shift_jis, or leave it empty"
            ) from exc
    with path.open("rb") as file:
        marked = text_encoding(file.read(_HEAD_BYTES))
    if marked not in (None, "utf-8"):
        return Encoding(marked)
    broken, multibyte, sample = _scan_utf8(path)
    if not broken:
        return Encoding("utf-8")
    if broken <= multibyte * _MAX_BROKEN_SHARE:
        return Encoding("utf-8", loss("bytes", broken))
    codec = guess_legacy_codec(sample)
    return Encoding(codec, (f"the text is not UTF-8; its encoding was guessed, and it was read as {codec}",))


def guess_legacy_codec(sample: bytes) -> str:
    """Return the likeliest 8-bit or East Asian codec of *sample*, which should have lines with non-ASCII bytes only."""
    import charset_normalizer

    matches = charset_normalizer.from_bytes(sample, cp_isolation=list(_PLAUSIBLE), preemptive_behaviour=False)
    best = matches.best()
    if best is None:
        return _FALLBACK
    equals = {
        codec
        for match in matches
        if match.chaos <= best.chaos + _SAME_DISORDER and match.coherence >= best.coherence
        for codec in match.could_be_from_charset
    }
    return next((codec for codec in _PLAUSIBLE if codec in equals), best.encoding)


def _scan_utf8(path: Path) -> tuple[int, int, bytes]:
    """Return the counts of broken and of valid multi-byte sequences, and a sample of the lines with non-ASCII bytes."""
    broken = multibyte = 0
    sample = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if len(sample) < _SAMPLE_BYTES and not chunk.isascii():
                sample += b"".join(line for line in chunk.splitlines(True) if not line.isascii())[:_SAMPLE_BYTES]
            text = decoder.decode(chunk)
            if not text.isascii():
                # A replacement character in the file itself is valid UTF-8.
                lost = max(0, text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd"))
                broken += lost
                multibyte += sum(not part.isascii() for part in text.split()) - lost
    broken += decoder.decode(b"", final=True).count("\ufffd")
    return broken, max(multibyte, 0), bytes(sample)
