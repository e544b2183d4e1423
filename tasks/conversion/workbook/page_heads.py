"""Heads and feet of a sheet's printed pages, which a workbook writes in codes (ECMA-376 part 1, 18.3.1.46); pure."""

from __future__ import annotations

import re

from tasks.conversion.office.running_text import belongs_to_a_page_number

_PART = re.compile(r"&[LCR]")
_NUMBER_CODE = re.compile(r"&[PN](?:[+-]\d+)?", re.IGNORECASE)
# Date, time, file, folder and sheet name are the computer's; fonts, sizes and colours are no text.
_CODE = re.compile(r'&(?:"[^"]*"|K(?:[0-9A-F]{6}|\d\d[+-]\d{3})|\d{1,3}|[A-Z&])', re.IGNORECASE)


def head_text(coded: str) -> str:
    """Return the text of a head or foot without its codes; empty if it only counts pages."""
    parts = (_part(part) for part in _PART.split(coded))
    return " | ".join(part for part in parts if part)


def _part(coded: str) -> str:
    counts_pages = _NUMBER_CODE.search(coded) is not None
    text = _CODE.sub(lambda found: "&" if found[0] == "&&" else "", _NUMBER_CODE.sub("", coded))
    if belongs_to_a_page_number(text) if counts_pages else not any(map(str.isalnum, text)):
        return ""
    return " ".join(text.split()).strip(" -–—|/") if counts_pages else " ".join(text.split())
