"""What a formatter must not touch, hidden behind single signs while it works; pure.

Owns the choice of the signs: private-use characters (Unicode 16.0, chapter 23.5) that the text does not have. A hidden
text is one letter for the formatter, and comes back exactly as it was typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_FIRST, _LAST = 0xE000, 0xF8FF
_PRIVATE = re.compile("[\ue000-\uf8ff]")


class Mask:
    """Hides parts of one text. A text with too many of them, or too many private-use characters, is left as it is."""

    def __init__(self, text: str) -> None:
        used = set(_PRIVATE.findall(text))
        self._free = (sign for code in range(_FIRST, _LAST + 1) if (sign := chr(code)) not in used)
        self._hidden: dict[str, str] = {}
        self._signs: dict[str, str] = {}

    def hide(self, pattern: re.Pattern[str], text: str, where: Callable[[str], bool] = bool) -> str:
        """Return *text* with a sign for each match of *pattern* for which *where* is true."""
        return pattern.sub(lambda found: self._sign(found[0]) if where(found[0]) else found[0], text)

    def show(self, text: str) -> str:
        """Return *text* with everything that was hidden."""
        return _PRIVATE.sub(lambda sign: self._hidden.get(sign[0], sign[0]), text) if self._hidden else text

    def hides(self, text: str) -> bool:
        """Return whether anything in *text* is hidden."""
        return bool(self._hidden) and any(sign in self._hidden for sign in _PRIVATE.findall(text))

    def _sign(self, hidden: str) -> str:
        if hidden not in self._signs:
            sign = next(self._free, None)
            if sign is None:
                return hidden
            self._signs[hidden], self._hidden[sign] = sign, hidden
        return self._signs[hidden]
