"""Numbers of lists as programs show them: 4, iv, D; pure."""

from __future__ import annotations

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
# Larger numbers are written in digits by every program.
_MAX_ROMAN = 32_767
_MAX_LETTERS = 780


def numeral(number: int, kind: str) -> str:
    """Return *number* in numerals of *kind*: ``lowerRoman``, ``upperRoman``, ``lowerLetter``, ``upperLetter``.

    Any other kind is written in digits. After z come aa, bb and so on (ECMA-376 part 1, 17.18.59).
    """
    if kind in ("lowerRoman", "upperRoman") and 0 < number <= _MAX_ROMAN:
        roman = _roman(number)
        return roman.upper() if kind == "upperRoman" else roman
    if kind in ("lowerLetter", "upperLetter") and 0 < number <= _MAX_LETTERS:
        letters = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letters.upper() if kind == "upperLetter" else letters
    return str(number)


def _roman(number: int) -> str:
    parts: list[str] = []
    for value, sign in _ROMAN:
        parts.append(sign * (number // value))
        number %= value
    return "".join(parts)
