"""Signs and accents of LaTeX as characters; data."""

from __future__ import annotations

import unicodedata

_COMBINING = {
    '"': "\u0308",
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
    "u": "\u0306",
    "v": "\u030c",
    "H": "\u030b",
    "c": "\u0327",
    "d": "\u0323",
    "b": "\u0331",
    "k": "\u0328",
    "r": "\u030a",
}
_NAMED = """
ss ß SS ẞ ae æ AE Æ oe œ OE Œ aa å AA Å o ø O Ø l ł L Ł i ı j ȷ dh ð DH Ð th þ TH Þ dj đ DJ Đ ng ŋ NG Ŋ S § P ¶
copyright © pounds £ euro € texteuro € EUR € dag † ddag ‡ dots … ldots … textellipsis … textbackslash \\ textbar |
textasciitilde ~ textasciicircum ^ textless < textgreater > textregistered ® texttrademark ™ textcopyright ©
textdegree ° degree ° textmu µ textonehalf ½ textonequarter ¼ textthreequarters ¾ textbullet • textperiodcentered ·
textquotedblleft “ textquotedblright ” textquoteleft ‘ textquoteright ’ quotedblbase „ glqq „ grqq “ flqq « frqq »
glq ‚ grq ‘ flq ‹ frq › guillemotleft « guillemotright » guillemetleft « guillemetright » textendash – textemdash —
textsection § textparagraph ¶ textdagger † textsterling £ textyen ¥ textcent ¢ textpm ± texttimes × textdiv ÷
textrightarrow → textleftarrow ← textnumero № textmacronbelow _ textunderscore _ textdollar $ textbraceleft {
textbraceright } lbrack [ rbrack ] slash / TeX TeX LaTeX LaTeX LaTeXe LaTeX2e BibTeX BibTeX checkmark ✓ Box ☐
textvisiblespace ␣ textordfeminine ª textordmasculine º textexclamdown ¡ textquestiondown ¿ celsius °C copyleft 🄯
textasciiacute ´ textasciigrave ` textbardbl ‖ textohm Ω textperthousand ‰ nobreakdash - hyp - XeTeX XeTeX
""".split()  # noqa: SIM905
NAMED: dict[str, str] = {
    **dict(zip(_NAMED[::2], _NAMED[1::2], strict=True)),
    **dict.fromkeys(("quad", "qquad", "enspace", "enskip", "thickspace", "space", "hfill", "hskip"), " "),
    " ": " ",
    "\n": " ",
    "\t": " ",
    ",": "\u202f",
    "thinspace": "\u202f",
    ":": "\u202f",
    ";": "\u2005",
    **{sign: sign for sign in "{}%#&$_"},
    **dict.fromkeys(("!", "/", "-", "@", "negthinspace", "og", "fg", "today", "null", "relax", "protect"), ""),
    "og": "«\u00a0",
    "fg": "\u00a0»",
}
# Shorthands of babel for German, behind the quotation mark.
GERMAN = {
    "a": "ä",
    "o": "ö",
    "u": "ü",
    "A": "Ä",
    "O": "Ö",
    "U": "Ü",
    "s": "ß",
    "e": "ë",
    "z": "ß",
    "S": "SS",
    "`": "„",
    "'": "“",
    "<": "«",
    ">": "»",
    "-": "",
    "|": "",
    "=": "-",
    "~": "-",
    '"': "",
}


def is_accent(command: str) -> bool:
    return command in _COMBINING


def accented(command: str, letter: str) -> str:
    """Return *letter* with the accent of *command*; dotless letters get their dot back below it."""
    base, rest = {"ı": "i", "ȷ": "j"}.get(letter[:1], letter[:1]), letter[1:]
    return unicodedata.normalize("NFC", base + _COMBINING[command]) + rest if base.strip() else letter
