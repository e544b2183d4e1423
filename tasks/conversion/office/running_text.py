"""Heads and feet of pages: which of them say something; pure.

Owns the words that stand around a page number in the languages that documents are most often in.
"""

from __future__ import annotations

import re

_PAGE_WORDS = frozenset(
    {
        *("page", "pages", "p", "pg", "of", "from"),
        *("seite", "seiten", "s", "blatt", "von"),
        *("sur", "de", "página", "páginas", "pagina", "paginas", "pág", "pag", "pagine", "di", "da", "van"),
        *("side", "sida", "siden", "sidan", "sivu", "av", "af"),
        *("strona", "str", "stránka", "strana", "z", "od", "oldal", "sayfa", "σελίδα", "страница", "стр", "из"),
        *("第", "页", "頁", "共", "第页", "共页", "页共", "ページ", "쪽", "페이지"),
    }
)
# These stand before other numbers as well: "No. 4711" counts as a page number only where a program says that it is one.
_NUMBER_WORDS = frozenset({"no", "nr"})
_WORD = re.compile(r"[^\W\d_]+")
_ROMAN = re.compile(r"[ivxlcdm]+")


def says_more_than_a_page_number(text: str) -> bool:
    """Return whether *text* has words besides a page number and what stands around one ("Page 3 of 10")."""
    return any(word not in _PAGE_WORDS and not _ROMAN.fullmatch(word) for word in _WORD.findall(text.lower()))


def belongs_to_a_page_number(text: str) -> bool:
    """Return whether *text*, which a program numbers the pages in, has no words but those around a page number."""
    return all(word in _PAGE_WORDS or word in _NUMBER_WORDS for word in _WORD.findall(text.lower()))
