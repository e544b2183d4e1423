"""The parameters of a part's `Content-Disposition`, and the file name that a client meant with them; pure.

Clients write names that are not ASCII in many forms: raw UTF-8 (browsers, curl), `filename*` (RFC 8187, requests,
.NET), continued `filename*0*` (RFC 2231, mail libraries), and words of mail headers in `filename` (RFC 2047, .NET). The
name is returned as it was meant; its folders and control characters are left for the caller to remove.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

# A quoted string ends at a quotation mark that is not escaped. What is not quoted ends at the next semicolon: some
# clients send blanks in it.
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_KIND = re.compile(rb"[ \t]*([^\s;]+)[ \t]*(?=;|\Z)")
# Only these are escaped with a backslash; any other backslash separates folders (`C:\folder\report.md`).
_ESCAPED = re.compile(rb'\\(["\\])')
# As browsers escape quotation marks and line breaks: WHATWG HTML, "multipart/form-data encoding".
_BROWSER_ESCAPES = {b"%22": b'"', b"%0D": b"\r", b"%0A": b"\n"}
_BROWSER_ESCAPE = re.compile(b"|".join(_BROWSER_ESCAPES), re.IGNORECASE)
_CONTINUED = re.compile(rb"filename\*(0|[1-9][0-9]{0,2})(\*?)")
# RFC 2047, with the language of RFC 2231. Its text has no blanks by the standard; some clients leave them in.
_WORD = re.compile(rb"=\?([A-Za-z0-9_.:-]+)(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(rb"(\?=)\s+(?==\?)")
# Charsets of names in use. Others among Python's codecs are no charsets, or take quadratic time.
_CHARSET = re.compile(
    r"utf-?8|(us-)?ascii|iso-8859-[0-9]{1,2}|latin1|(windows-|cp)125[0-8]|shift_jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk"
    r"|gb18030|big5|koi8-[ru]",
    re.IGNORECASE,
)
_Q_BYTE = re.compile(rb"=([0-9A-Fa-f]{2})")


def disposition(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the kind of a `Content-Disposition` and its parameters, both with lower-case names.

    The first of two parameters with the same name counts.
    """
    kind = _KIND.match(header)
    if kind is None:
        return b"", {}
    parameters: dict[bytes, bytes] = {}
    for found in _PARAMETER.finditer(header, kind.end()):
        name, quoted, plain = found.groups()
        value = _ESCAPED.sub(rb"\1", quoted) if quoted is not None else plain.strip()
        parameters.setdefault(name.lower(), value)
    return kind[1].lower(), parameters


def file_name(parameters: Mapping[bytes, bytes]) -> str | None:
    """Return the file name among the *parameters* of a `disposition`; None if there is none.

    `filename*` is preferred (RFC 6266 section 4.3), also continued; one that cannot be decoded is ignored.
    """
    extended = parameters.get(b"filename*")
    name = _decoded(*_charset_and_bytes(extended)) if extended else None
    name = name or _continued(parameters)
    if name:
        return name
    plain = parameters.get(b"filename")
    return None if plain is None else _plain_name(plain)


def _charset_and_bytes(extended: bytes) -> tuple[bytes, bytes]:
    """Split ``charset'language'value``, and decode the percent-encoded value."""
    charset, mark, rest = extended.partition(b"'")
    value = rest.partition(b"'")[2] if mark else b""
    return charset, unquote_to_bytes(value)


def _continued(parameters: Mapping[bytes, bytes]) -> str | None:
    """Join ``filename*0``, ``filename*1*`` and so on; None without the first."""
    found: dict[int, tuple[bool, bytes]] = {}
    for name, value in parameters.items():
        if part := _CONTINUED.fullmatch(name):
            found[int(part[1])] = (bool(part[2]), value)
    charset, joined = b"utf-8", b""
    for number in range(len(found)):
        if number not in found:
            break
        is_encoded, value = found[number]
        if is_encoded and number == 0:
            charset, value = _charset_and_bytes(value)
        joined += unquote_to_bytes(value) if is_encoded and number else value
    return _decoded(charset, joined) if joined else None


def _plain_name(value: bytes) -> str:
    if (words := _words(value)) is not None:
        return words
    return _guessed(_BROWSER_ESCAPE.sub(lambda found: _BROWSER_ESCAPES[found[0].upper()], value))


def _words(value: bytes) -> str | None:
    """Decode the encoded words of RFC 2047 in *value*; None if there are none, or one cannot be decoded.

    Clients that cut a long name into words may cut through a character, so words of one charset are joined first.
    """
    value = _BETWEEN_WORDS.sub(rb"\1", value)
    pieces: list[tuple[bytes | None, bytes]] = []
    at = 0
    for found in _WORD.finditer(value):
        if found.start() > at:
            pieces.append((None, value[at : found.start()]))
        charset, content = found[1].lower(), _word_bytes(found[2], found[3])
        if content is None:
            return None
        if pieces and pieces[-1][0] == charset:
            pieces[-1] = (charset, pieces[-1][1] + content)
        else:
            pieces.append((charset, content))
        at = found.end()
    if not at:
        return None
    pieces.append((None, value[at:]))
    name = ""
    for charset, text in pieces:
        decoded = _guessed(text) if charset is None else _decoded(charset, text)
        if decoded is None:
            return None
        name += decoded
    return name


def _word_bytes(encoding: bytes, text: bytes) -> bytes | None:
    if encoding in b"Qq":
        return _Q_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), text.replace(b"_", b" "))
    try:
        return base64.b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        return None


def _decoded(charset: bytes, value: bytes) -> str | None:
    name = charset.decode("latin-1") or "utf-8"
    if _CHARSET.fullmatch(name) is None:
        return None
    try:
        return value.decode(name)
    except (UnicodeError, LookupError):
        return None


def _guessed(value: bytes) -> str:
    """Decode bytes whose charset is not named: UTF-8, as RFC 7578 section 5.1 has it, or else Windows' Latin-1."""
    return _decoded(b"utf-8", value) or _decoded(b"cp1252", value) or value.decode("latin-1")
