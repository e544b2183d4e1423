"""Whole numbers as files write them; pure.

Owns that no text is too odd: "²" is a digit for `str.isdigit` but not for `int`, which refuses thousands of digits.
"""

from __future__ import annotations

_MOST = 999_999_999


def whole_number(text: str | None, otherwise: int = 0) -> int:
    """Return the number that *text* writes in decimal digits, *otherwise* for another text; at most 999,999,999."""
    digits = (text or "").strip()
    if not digits.isdecimal():
        return otherwise
    digits = digits.lstrip("0")
    return min(int(digits or "0"), _MOST) if len(digits) < 10 else _MOST
