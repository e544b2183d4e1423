"""ASCII armor: age files as text, read only.

Implements C2SP age.md, "ASCII armor" (RFC 7468 section 3, strict). Writers may choose the white space around the block
and one kind of line ending; anything else that does not encode to the same text again is refused.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator

from blocks.errors import MalformedAgeFile

BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_WHITE_SPACE = b" \t\r\n"
# Room for what mail and forms put before a block. Without a bound, endless blanks would be read for ever.
MAX_WHITE_SPACE_BYTES = 1024


def is_armored(beginning: bytes) -> bool:
    """Return whether a file with this *beginning* (1.1 kB of it is always enough) is armored, or meant to be."""
    return beginning.lstrip(_WHITE_SPACE).startswith(BEGIN)


def dearmor(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the binary age file in an armored one. Raises `MalformedAgeFile` (part="armor"); lets errors of *chunks*
    pass.

    Decoded bytes are released before the end is seen, so the caller must read on to the end.
    """
    remaining = iter(chunks)
    buffer = bytearray()
    line_end = _read_begin(buffer, remaining)
    # The mark of the last line cannot be base64, so the first one ends the body.
    while (mark := buffer.find(b"-")) < 0:
        # The last line so far stays: only if nothing follows it may it be padded.
        if decoded := _decode_lines(buffer, max(0, len(buffer) - 1), line_end, padded=False):
            yield decoded
        if not _fill(buffer, remaining):
            raise _malformed("it ends before its last line")
    rest_bytes = mark % (_COLUMNS + len(line_end))
    if decoded := _decode_lines(buffer, mark, line_end, padded=not rest_bytes):
        yield decoded
    if rest_bytes:
        yield _decode_last_line(bytes(buffer[:rest_bytes]), line_end)
        del buffer[:rest_bytes]
    _read_end(buffer, remaining)


def _read_begin(buffer: bytearray, chunks: Iterator[bytes]) -> bytes:
    """Take white space and the first line from *buffer*, filling it from *chunks*; returns the line ending."""
    skipped = 0
    while True:
        before = len(buffer)
        buffer[:] = buffer.lstrip(_WHITE_SPACE)
        skipped += before - len(buffer)
        if skipped > MAX_WHITE_SPACE_BYTES:
            raise _malformed(f"more than {MAX_WHITE_SPACE_BYTES} bytes of white space come before it")
        if not BEGIN.startswith(buffer[: len(BEGIN)]):
            raise _malformed("it does not begin with its first line")
        for line_end in (b"\n", b"\r\n"):
            if buffer.startswith(BEGIN + line_end):
                del buffer[: len(BEGIN + line_end)]
                return line_end
        if len(buffer) > len(BEGIN) + 1 or not _fill(buffer, chunks):
            raise _malformed("its first line does not end where it should")


def _decode_lines(buffer: bytearray, stop: int, line_end: bytes, *, padded: bool) -> bytes:
    """Take all full lines before *stop* from *buffer* and return what they hold; the last may be *padded*."""
    line_bytes = _COLUMNS + len(line_end)
    count = stop // line_bytes
    lines = bytes(buffer[: count * line_bytes])
    text = lines.translate(None, line_end)
    # As many line endings as lines, each where a line of 64 columns ends.
    well_placed = all(
        lines[_COLUMNS + place :: line_bytes] == bytes([byte]) * count for place, byte in enumerate(line_end)
    )
    if not well_placed or len(text) != count * _COLUMNS:
        raise _malformed("a line that is not the last has not 64 columns")
    decoded = _decode_canonical(text)
    if not padded and len(decoded) * 4 != len(text) * 3:
        raise _malformed("a line that is not the last is padded")
    del buffer[: count * line_bytes]
    return decoded


def _decode_last_line(line: bytes, line_end: bytes) -> bytes:
    text = line.removesuffix(line_end)
    if text == line or not text:
        raise _malformed("its body does not end with a line")
    return _decode_canonical(text)


def _decode_canonical(text: bytes) -> bytes:
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as exc:
        raise _malformed("a line is not base64") from exc
    # Surplus bits that are set would make two texts of one file. They can only be in the last four characters.
    tail = decoded[-(len(decoded) % 3 or 3) :]
    if binascii.b2a_base64(tail, newline=False) != text[-4:]:
        raise _malformed("its base64 is not canonical")
    return decoded


def _read_end(buffer: bytearray, chunks: Iterator[bytes]) -> None:
    """Require the last line, and nothing after it but white space."""
    while len(buffer) < len(END) and _fill(buffer, chunks):
        pass
    if not buffer.startswith(END):
        raise _malformed("its last line is not what it should be")
    del buffer[: len(END)]
    skipped = 0
    while buffer or _fill(buffer, chunks):
        skipped += len(buffer)
        # What is appended would be carried along unseen, and endless blanks read for ever.
        if buffer.strip(_WHITE_SPACE) or skipped > MAX_WHITE_SPACE_BYTES:
            raise _malformed("something follows its last line")
        buffer.clear()


def _fill(buffer: bytearray, chunks: Iterator[bytes]) -> bool:
    chunk = next(chunks, None)
    if chunk is None:
        return False
    buffer += chunk
    return True


def _malformed(reason: str) -> MalformedAgeFile:
    return MalformedAgeFile(f"not a well-formed armored age file: {reason}", part="armor")
