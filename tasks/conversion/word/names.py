"""Names of WordprocessingML and its neighbours, and how their values are read; pure.

Values follow ECMA-376 part 1, 17.17.4 and 22.9.2. A damaged number counts as absent: it never fails a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.conversion.office.package import Element

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
W15 = "{http://schemas.microsoft.com/office/word/2012/wordml}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
VML = "{urn:schemas-microsoft-com:vml}"

VAL = f"{W}val"

# Extensions of Microsoft whose elements are read; what needs others is read in its fallback, emoji for example.
_MICROSOFT = "http://schemas.microsoft.com/office/"
_KNOWN_EXTENSIONS = re.compile(
    re.escape(_MICROSOFT)
    + r"(?:word/201[02]/(?:wordml|wordprocessing(?:Shape|Group|Canvas|Drawing))|drawing/(?:2010/main|2007/8/2/chart"
    r"|2012/chart|20\d\d/(?:\d+/\d+/)?chartex))"
)
_OFF = frozenset({"0", "false", "off", "none"})
_NUMBER = re.compile(r"\s*([-+]?\d{1,9})(?:\.\d*)?\s*")


def is_on(element: Element | None) -> bool:
    """Return whether a property of the type on/off is there and on."""
    return element is not None and element.get(VAL, "1").lower() not in _OFF


def value(parent: Element | None, name: str, default: str = "") -> str:
    """Return the value of the child *name* (in the namespace of Word) of *parent*."""
    child = None if parent is None else parent.find(f"{W}{name}")
    return default if child is None else child.get(VAL, default)


def integer(text: str | None) -> int | None:
    """Return the whole number that *text* is, None where it is none."""
    found = _NUMBER.fullmatch(text or "")
    return int(found[1]) if found else None


def address(text: str) -> str:
    """Return the address of a link without blanks, which end one in Markdown."""
    return "%20".join(text.split())


def chosen(alternatives: Element) -> Iterator[Element]:
    """Yield what stands in the alternative that is read (ECMA-376 part 3, 7.5): once, never both."""
    fallback = alternatives.find(f"{MC}Fallback")
    for choice in alternatives.iterchildren(f"{MC}Choice"):
        needed = (choice.nsmap.get(prefix) or "" for prefix in choice.get("Requires", "").split())
        if fallback is None or all(_KNOWN_EXTENSIONS.fullmatch(name) or _MICROSOFT not in name for name in needed):
            yield from choice
            return
    if fallback is not None:
        yield from fallback
