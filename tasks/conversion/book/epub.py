"""EPUB books: the chapters in the order of the spine, as one tree of HTML.

Owns the package document (EPUB 3.3, 5; also that of EPUB 2), and that a link from one file of the book to another stays
one: so a note leads to its text wherever that stands. Navigation is left out, for the chapters' headings say the same.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.html.page import write_tree
from tasks.conversion.html.tree import Element, drop, etree, parse
from tasks.conversion.office.package import Package
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.losses import losses

CONVERTER = "waybill-epub 1"

_CONTAINER = "META-INF/container.xml"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_PAGE_ENDINGS = (".xhtml", ".html", ".htm")
_NAVIGATION = frozenset({"toc", "landmarks", "page-list", "lot", "loi"})
_PAGE_NUMBER_KINDS = frozenset({"pagebreak", "doc-pagebreak"})


@dataclass(frozen=True)
class _Item:
    path: str
    kind: str
    properties: tuple[str, ...]


def read_epub(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the book as Markdown. Raises `UnreadableDocument`, `EncryptedDocument`, `TooLarge`."""
    lost: Counter[str] = Counter()
    with Package(path, file_type, shown) as package:
        book = _Book(package, shown)
        root = etree.Element("html")
        body = etree.SubElement(root, "body")
        chapters = book.reading_order()
        for number, chapter in enumerate(chapters):
            if chapter not in package:
                lost["part"] += 1
                continue
            section = _chapter(package.read(chapter), chapter, number, {name: at for at, name in enumerate(chapters)})
            if section is not None:
                body.append(section)
        written = write_tree(root, ("nav",))
        return Reading(
            body=clean_text(written.markdown),
            converter=CONVERTER,
            title=book.first("title"),
            created=book.first("date"),
            language=(book.first("language") or "")[:2].lower() or None,
            fields={"author": "; ".join(authors)} if (authors := book.every("creator")) else {},
            warnings=(*written.warnings, *losses(lost)),
        )


class _Book:
    """The package document: what the book says of itself, its files, and the order in which they are read."""

    def __init__(self, package: Package, shown: str) -> None:
        self._package = package
        self._file = self._package_document(shown)
        self._root = package.parse(self._file)
        self._items = {
            item.get("id", ""): _Item(
                path=self._resolved(item.get("href", "")),
                kind=(item.get("media-type") or "").lower(),
                properties=tuple((item.get("properties") or "").split()),
            )
            for item in self._root.iter("{*}item")
        }

    def _package_document(self, shown: str) -> str:
        if _CONTAINER in self._package:
            for rootfile in self._package.parse(_CONTAINER).iter("{*}rootfile"):
                if rootfile.get("full-path", "") in self._package:
                    return rootfile.get("full-path")
        found = [name for name in self._package.members() if name.lower().endswith(".opf")]
        if not found:
            raise UnreadableDocument(f"{shown!r} (EPUB book) has no package document; export it again")
        return found[0]

    def _resolved(self, address: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._file), unquote(urldefrag(address)[0])))

    def every(self, name: str) -> list[str]:
        """Return what the metadata say under a name of Dublin Core, in order."""
        texts = (single_line("".join(one.itertext())) for one in self._root.iter(f"{{*}}{name}"))
        return [text for text in texts if text]

    def first(self, name: str) -> str | None:
        return next(iter(self.every(name)), None)

    def reading_order(self) -> list[str]:
        """Return the names of the pages: those of the spine in their order, then those that stand outside of it."""
        navigation = {item.path for item in self._items.values() if "nav" in item.properties}
        for reference in self._root.iter("{*}reference"):
            if (reference.get("type") or "").lower() == "toc":
                navigation.add(self._resolved(reference.get("href", "")))
        linear: list[str] = []
        outside: list[str] = []
        for reference in self._root.iter("{*}itemref"):
            item = self._items.get(reference.get("idref", ""))
            if item is None or item.path in navigation or not _is_page(item):
                continue
            (outside if reference.get("linear") == "no" else linear).append(item.path)
        if not linear and not outside:
            linear = [item.path for item in self._items.values() if _is_page(item) and item.path not in navigation]
        return list(dict.fromkeys([*linear, *outside]))


def _is_page(item: _Item) -> bool:
    return item.kind in _PAGES or item.path.lower().endswith(_PAGE_ENDINGS)


def _chapter(page: bytes, path: str, number: int, numbers: dict[str, int]) -> Element | None:
    """Return a page as a section of the book, with its names and links made those of the book."""
    root = parse(page)
    content = None if root is None else next(root.iter("body"), None)
    if content is None:
        return None
    content.tag, content.tail = "section", None
    for element in list(content.iter(etree.Element)):
        kinds = set((element.get("epub-type") or "").split()) | {element.get("role") or ""}
        if kinds & _PAGE_NUMBER_KINDS or (element.tag == "nav" and kinds & _NAVIGATION):
            drop(element)
            continue
        for name in ("id", "name"):
            if element.get(name):
                element.set(name, f"{number}-{element.get(name)}")
        if element.tag == "a" and element.get("href"):
            element.set("href", _link(element.get("href"), path, number, numbers))
        elif element.get("src"):
            element.set("src", "")  # it is inside of the book
    return content


def _link(address: str, path: str, number: int, numbers: dict[str, int]) -> str:
    """Return a link to another page of the book as one to a place in it; addresses outside stay."""
    if "://" in address or address.startswith("mailto:"):
        return address
    target, fragment = urldefrag(address)
    if target:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(target)))
        number = numbers.get(name, -1)
    return f"#{number}-{fragment}"
