"""Heads and feet of pages: which of them say something; pure."""

from __future__ import annotations

import re

# What stands around a page number in the languages that documents are most often in.
_PAGE_WORDS = re.compile(
    r"\b(?:pages?|p|pg|seiten?|s|of|von|sur|de|di|van|z|pagina|página|pagine|str|strona|blatt|side|sida|sivu|страница|стр|из|頁|页|第|共)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\b(?:\d+|[ivxlcdm]+)\b", re.IGNORECASE)
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def says_more_than_a_page_number(text: str) -> bool:
    """Return whether *text* has words besides a page number and what stands around one ("Page 3 of 10")."""
    return bool(_LETTER_OR_DIGIT.search(_NUMBER.sub(" ", _PAGE_WORDS.sub(" ", text))))
