"""HTML as a tree of elements: parsing, what is never text, and what a page hides.

Owns the two parsers (HTML, and XHTML with its names made plain), the selectors of what is left out, and the bound on
depth. Below it, text is kept without its structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from tasks.conversion.office.package import Element

etree: Any = import_module("lxml.etree")

# Real pages stay below 100. The writer takes two frames a level, and Python stops at 1,000.
MAX_DEPTH = 256

_NEVER_TEXT = ("script", "style", "noscript", "template", "head", "datalist")
# Elements without words of the page: numbers of printed pages and of lines of code, links to edit a section.
_MACHINERY = (
    "//span[contains(@class, 'pagenum') or contains(@class, 'pageno')] | "
    "//*[contains(@class, 'mw-editsection') or self::td[contains(@class, 'linenos') or contains(@class, 'gutter')]]"
)
# The same parts of a page as older pages name them (WAI-ARIA 1.2).
_ROLES = {"nav": "navigation", "footer": "contentinfo", "aside": "complementary"}
# In these, a footer belongs to its parent (HTML Living Standard 4.3.8) and is text: who said it, when it was written.
_OWN_FOOTER = frozenset({"article", "blockquote", "figure", "details", "td"})
# Parts of a table or a list, which are nothing without it.
_PARTS = frozenset({"tr", "td", "th", "tbody", "thead", "tfoot", "li", "dt", "dd"})
_HIDING_STYLE = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all)", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]")
_NAMED_ENTITY = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]{1,31};)")
_XHTML = re.compile(
    rb"""\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE[^>]*>\s*)?<html[^>]*xmlns""",
    re.DOTALL,
)
_EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"

_MAYBE_HIDDEN = (
    "//*[@hidden or @aria-hidden='true' or self::dialog[not(@open)]"
    " or contains(translate(@style, 'NOE', 'noe'), 'none') or contains(translate(@style, 'HID', 'hid'), 'hid')]"
)


def parse(page: bytes) -> Element | None:
    """Return the root of the UTF-8 *page*; None if there is no element in it."""
    if _XHTML.match(page, 0, 4096):
        root = parse_xhtml(page)
        if root is not None:
            return root
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        return named(etree.fromstring(page, parser))
    except (etree.LxmlError, ValueError):
        return None


def parse_xhtml(page: bytes) -> Element | None:
    """Return the root of an XHTML *page*, whose empty elements may be written ``<a/>``; None if it is not XML at all.

    Entities of a document type are not resolved, and the names of HTML's own stand for their characters.
    """
    page = _NAMED_ENTITY.sub(lambda found: unescape(f"&{found[1].decode()}").encode(), page)
    parser = _xml_parser()
    try:
        root = etree.fromstring(page, parser)
    except (etree.LxmlError, ValueError):
        return None
    return None if root is None or parser.error_log.filter_from_fatals() else named(root)


def parse_xml(path: Path) -> Element | None:
    """Return the root of the XML file at *path*, damaged or not, cut to half of `MAX_DEPTH`; None if it is not XML."""
    try:
        root = etree.parse(str(path), _xml_parser()).getroot()
    except etree.LxmlError:
        return None
    if root is not None:
        flatten_below(root, MAX_DEPTH // 2)  # what its elements become may take two levels for one
    return root


def _xml_parser() -> Any:
    """Return a parser that resolves no entity of a document type and fetches nothing."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        recover=True,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
    )


def named(root: Element | None) -> Element | None:
    """Make names plain: that of XHTML's ``p`` is ``p``, ``m:mi`` is ``mi``, and EPUB's type ``epub-type``."""
    if root is None:
        return None
    for element in root.iter(etree.Element):
        tag = element.tag
        if tag[0] == "{" or ":" in tag:
            element.tag = re.split(r"[}:]", tag)[-1] or "span"
        if kind := element.get(_EPUB_TYPE) or element.get("epub:type"):
            element.set("epub-type", kind)
    for reference in list(root.iter(etree.Entity)):
        drop(reference)
    return root


def drop(element: Element) -> None:
    """Remove *element* and leave the text after it."""
    parent = element.getparent()
    if parent is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
        element.tail = None
    parent.remove(element)


def lift_definitions(root: Element) -> None:
    """Put each term and definition behind the one that it stands in: end tags may be omitted, and the parser nests."""
    for element in list(root.iter("dt", "dd")):
        parent = element.getparent()
        if parent is not None and parent.tag in ("dt", "dd"):
            parent.addnext(element)


def replace(element: Element, tag: str, text: str, **attributes: str) -> Element:
    """Put a new element in the place of *element* and return it."""
    new = etree.Element(tag, attributes)
    new.text, new.tail = text, element.tail
    element.getparent().replace(element, new)
    return new


def all_text(element: Element) -> str:
    """Return the text of *element* and everything in it."""
    return "".join(element.itertext())


def has_words(element: Element) -> bool:
    """Return whether there is a letter or a digit in *element*."""
    return any(_WORD.search(text) for text in element.itertext())


def drop_never_text(root: Element) -> None:
    """Remove scripts, styles and other elements that are never text."""
    for element in [*root.iter(*_NEVER_TEXT), *root.xpath(_MACHINERY)]:
        drop(element)


def drop_hidden(root: Element) -> int:
    """Remove what the page does not show, and return how many passages with words that were."""
    hidden = 0
    for element in root.xpath(_MAYBE_HIDDEN):
        if element.getparent() is None or element.getparent().tag == "html":
            continue
        if element.get("aria-hidden") == "true" and not has_words(element):
            drop(element)
        elif "hidden" in element.attrib or element.tag == "dialog" or _HIDING_STYLE.search(element.get("style") or ""):
            hidden += has_words(element)
            drop(element)
    return hidden


def drop_selected(root: Element, selectors: Sequence[str]) -> tuple[str, ...]:
    """Remove what the CSS *selectors* choose; return the selectors that cannot be understood."""
    unknown: list[str] = []
    for selector in selectors:
        try:
            found = list(_selected(root, selector))
        except (etree.LxmlError, SyntaxError, ValueError):
            unknown.append(selector)
            continue
        for element in found:
            if selector.strip() == "footer" and _belongs_to_its_parent(element):
                continue
            drop(element)
    return tuple(unknown)


def _selected(root: Element, selector: str) -> Iterator[Element]:
    if selector.isalnum():
        yield from list(root.iter(selector.lower()))
        if selector in _ROLES:
            yield from root.xpath("//*[@role = $role]", role=_ROLES[selector])
        return
    from lxml.cssselect import CSSSelector  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    yield from cast(Any, CSSSelector)(selector, translator="html")(root)


def _belongs_to_its_parent(footer: Element) -> bool:
    return any(ancestor.tag in _OWN_FOOTER for ancestor in footer.iterancestors())


def flatten_below(root: Element, depth: int) -> int:
    """Leave only the text of elements deeper than *depth*; return how deep the tree was."""
    level = deepest = 0
    too_deep: list[Element] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "end":
            level -= 1
            continue
        level += 1
        deepest = max(deepest, level)
        if level == depth + 1:
            too_deep.append(element)
    for element in too_deep:
        whole = element
        while whole.tag in _PARTS and whole.getparent() is not None:
            whole = whole.getparent()
        if whole.getparent() is not None:  # it may be in a table that was replaced already
            replace(whole, "span", " ".join(whole.itertext()))
    return deepest
