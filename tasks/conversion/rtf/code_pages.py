"""Which codec the bytes of a font's text are in; pure."""

from __future__ import annotations

import codecs

SYMBOL = "symbol"
"""Not a codec: the bytes are signs of a symbol font."""

# Character sets of fonts (RTF 1.9.1, ``\\fcharset``). 0 and 1 say nothing: the document's code page counts.
_BY_CHARSET = {
    2: SYMBOL,
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gbk",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    254: "cp437",
    255: "cp437",
}
_NAMED = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
_BY_NUMBER = {10000: "mac_roman", 65001: "utf-8", 936: "gbk", 1361: "johab", 0: "cp1252"}


def codec_of_charset(charset: int) -> str | None:
    """Return the codec of a font's character set, `SYMBOL`, or None if it says nothing."""
    return _BY_CHARSET.get(charset)


def codec_of_code_page(name: str, number: int | None = None) -> str:
    """Return the codec of a document's code page: by its word (``ansi``, ``mac``), or by a Windows *number*."""
    codec = _NAMED.get(name, "cp1252") if number is None else _BY_NUMBER.get(number, f"cp{number}")
    try:
        return codecs.lookup(codec).name
    except LookupError:
        return "cp1252"
