"""FictionBook 2: its elements as those of HTML.

Owns the names of the format (FictionBook 2.1 schema), its metadata, and its notes, which stand in a body of their own.
"""

from __future__ import annotations

from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.html.page import write_tree
from tasks.conversion.html.tree import Element, all_text, etree, named, parse_xml
from tasks.conversion.reading import Reading, clean_text, single_line

CONVERTER = "waybill-fictionbook 1"

_NAMES = {
    "emphasis": "em",
    "strikethrough": "s",
    "style": "span",
    "cite": "blockquote",
    "epigraph": "blockquote",
    "poem": "div",
    "stanza": "p",
    "v": "span",
    "text-author": "p",
    "annotation": "div",
    "empty-line": "span",
    "image": "img",
}
_HREF = "{http://www.w3.org/1999/xlink}href"


def read_fiction_book(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the book as Markdown. Raises `UnreadableDocument`."""
    root = parse_xml(path)
    if root is None:
        raise UnreadableDocument(f"{shown!r} could not be read as {file_type.label}; export it again")
    about = root.find("{*}description/{*}title-info")
    page = etree.Element("html")
    body = etree.SubElement(page, "body")
    for part in (*root.findall("{*}description/{*}title-info/{*}annotation"), *root.findall("{*}body")):
        notes = part.get("name") in ("notes", "comments")
        content = _converted(named(part), level=1, notes=notes)
        content.set("class", "footnotes" if notes else "")
        body.append(content)
    written = write_tree(page)
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=_text(about, "book-title"),
        created=_date(about),
        language=(_text(about, "lang") or "")[:2].lower() or None,
        fields={"author": authors} if (authors := _authors(about)) else {},
        warnings=written.warnings,
    )


def _converted(part: Element, level: int, *, notes: bool) -> Element:
    """Make the names in *part* those of HTML. *level* is that of its headings; *notes* says that its sections are."""
    for element in list(part):
        tag = element.tag
        if tag == "section" and notes and element.get("id"):
            element.tag = "aside"
            element.set("role", "doc-footnote")
            _converted(element, level, notes=False)
        elif tag == "title" and part.tag == "aside":
            element.tag = "span"  # the note's number
            _converted(element, level, notes=False)
        elif tag == "title":
            element.tag = f"h{min(level, 6)}"
            _converted(element, level, notes=False)
        elif tag == "subtitle":
            element.tag = "p"
            _converted(element, level, notes=False)
        elif tag == "section":
            _converted(element, level + 1, notes=notes)
        else:
            _rename(element)
            _converted(element, level, notes=notes)
    part.tag = part.tag if part.tag != "body" else "div"
    return part


def _rename(element: Element) -> None:
    tag = element.tag
    if tag == "a":
        element.set("href", element.get(_HREF) or element.get("href") or "")
        if element.get("type") == "note":
            element.set("role", "doc-noteref")
    elif tag == "v" and element.getnext() is not None:
        element.append(etree.Element("br"))
    element.tag = _NAMES.get(tag, tag)


def _text(about: Element | None, name: str) -> str | None:
    found = None if about is None else about.find(f"{{*}}{name}")
    return None if found is None else single_line(all_text(found)) or None


def _date(about: Element | None) -> str | None:
    found = None if about is None else about.find("{*}date")
    return None if found is None else found.get("value") or single_line(all_text(found)) or None


def _authors(about: Element | None) -> str:
    names: list[str] = []
    authors: list[Element] = [] if about is None else about.findall("{*}author")
    for author in authors:
        parts = (author.findtext(f"{{*}}{name}") for name in ("first-name", "middle-name", "last-name"))
        names.append(single_line(" ".join(filter(None, parts)) or author.findtext("{*}nickname") or ""))
    return "; ".join(filter(None, names))
