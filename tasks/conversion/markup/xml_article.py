"""Articles in XML, DocBook (5.1, also 4) and JATS (1.3), as HTML, which is written as a page is.

Owns which of their elements stand for which of HTML: sections and their titles, notes, tables of both models, formulas.
Elements that are not known are their text.
"""

from __future__ import annotations

from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.html.formulas import FORMULA
from tasks.conversion.html.page import write_tree
from tasks.conversion.html.tree import Element, all_text, drop, etree, named, parse_xml
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.conversion.whole_numbers import whole_number

CONVERTER = "waybill-xml-article 1"

_PAIRS = """
superscript sup subscript sub emphasis em italic em bold strong literal code command code filename code monospace code
varname code function code constant code option code userinput code computeroutput code strike s underline u quote q
para p simpara p attrib p verse-group p itemizedlist ul listitem li list ul list-item li variablelist dl def-list dl
term dt def dd disp-quote blockquote epigraph blockquote row tr programlisting pre screen pre literallayout pre
preformat pre synopsis pre caption figcaption bridgehead strong formalpara div note div tip div warning div caution div
important div
"""
_WORDS = _PAIRS.split()
_NAMES: dict[str, str] = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_SECTION_NAMES = """
section sect1 sect2 sect3 sect4 sect5 sec chapter appendix preface part abstract book article app glossary ack
bibliography ref-list refsection simplesect fn-group
"""
_SECTIONS = frozenset(_SECTION_NAMES.split())
_HTML_NAMES = (
    "table thead tbody tfoot tr td th col colgroup sup sub p em strong code pre a ul ol li dl dt dd blockquote"
)
_HTML = frozenset(_HTML_NAMES.split())
_LETTERS: dict[str, str] = {
    "loweralpha": "a",
    "upperalpha": "A",
    "lowerroman": "i",
    "upperroman": "I",
    "alpha-lower": "a",
    "alpha-upper": "A",
    "roman-lower": "i",
    "roman-upper": "I",
}
_NOT_SHOWN = (
    "info",
    "articleinfo",
    "bookinfo",
    "chapterinfo",
    "indexterm",
    "remark",
    "processing-meta",
    "journal-meta",
)
_HREF = "{http://www.w3.org/1999/xlink}href"


def read_xml_article(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the article as Markdown. Raises `UnreadableDocument`."""
    root = parse_xml(path)
    if root is None:
        raise UnreadableDocument(f"{shown!r} could not be read as {file_type.label}; export it again")
    article = _Article(named(root))
    written = write_tree(article.page)
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=article.title or None,
        created=article.date or None,
        fields={"author": article.authors} if article.authors else {},
        warnings=written.warnings,
    )


class _Article:
    """An article whose tree is made that of HTML, `page`."""

    def __init__(self, root: Element) -> None:
        self.title = _first(root, "article-title") or _first(root, "title")
        self.date = _first(root, "date") or _first(root, "pubdate") or _published(root)
        authors: list[Element] = list(root.iter("author", "contrib"))
        self.authors = "; ".join(dict.fromkeys(name for one in authors if (name := _author(one))))
        self.page = etree.Element("html")
        body = etree.SubElement(self.page, "body")
        if self.title:
            etree.SubElement(body, "h1").text = self.title
        self._notes: list[Element] = []
        for front in list(root.iter("front", "front-stub")):
            kept = list(front.iter("abstract", "trans-abstract"))
            for one in list(front):
                drop(one)
            front.extend(kept)
        for title in [one for one in root if one.tag in ("title", "subtitle")]:
            drop(title)
        for element in list(root.iter(*_NOT_SHOWN)):
            drop(element)
        self._convert(root, 1)
        root.tag = "section"
        body.append(root)
        body.extend(self._notes)

    def _convert(self, parent: Element, level: int) -> None:
        """Make the names of everything in *parent* those of HTML. *level* is that of its headings."""
        for element in list(parent):
            if not isinstance(element.tag, str) or element.tag in ("math", FORMULA):
                continue
            tag = element.tag
            self._convert(element, level + (tag in _SECTIONS))
            if tag in ("title", "label") and parent.tag in _SECTIONS and tag == "title":
                element.tag = f"h{min(6, level)}"
            elif tag in ("title", "label"):
                self._label(element, parent)
            elif tag in ("footnote", "fn"):
                self._note(element, in_place=tag == "footnote")
            elif tag == "xref" and element.get("ref-type") in ("fn", "table-fn"):
                element.tag = "a"
                element.set("href", f"#{element.get('rid')}")
                element.set("role", "doc-noteref")
            elif tag == "footnoteref":
                element.tag, element.text = "a", "1"
                element.set("href", f"#{element.get('linkend')}")
                element.set("role", "doc-noteref")
            elif tag in ("link", "ulink", "ext-link", "uri", "email"):
                element.tag = "a"
                element.set("href", element.get(_HREF) or element.get("url") or "")
            elif tag in ("tex-math", "mathphrase", "alt"):
                element.tag = FORMULA if tag == "tex-math" else "span"
            elif tag in ("disp-formula", "informalequation", "equation"):
                element.tag = "p"
            elif tag in ("graphic", "inline-graphic", "imagedata", "inlinemediaobject"):
                element.tag = "img" if tag != "inlinemediaobject" else "span"
            elif tag == "br" or tag == "break":
                element.tag = "br"
            else:
                self._rename(element, tag)

    def _rename(self, element: Element, tag: str) -> None:
        numerals = element.get("numeration") or element.get("list-type") or ""
        if tag == "orderedlist" or (tag == "list" and numerals in ("order", *_LETTERS)):
            element.tag = "ol"
            element.set("type", _LETTERS.get(numerals, "1"))
            element.set("start", element.get("startingnumber") or "1")
        elif tag == "emphasis" and element.get("role") in ("bold", "strong"):
            element.tag = "strong"
        elif tag == "listitem" and element.getparent().tag == "varlistentry":
            element.tag = "dd"
        elif tag == "table" and element.find("table") is not None:
            element.tag = "div"
        elif tag == "tgroup":
            element.tag = "table"
            element.set("role", "table")
        elif tag == "entry":
            element.tag = "td"
            element.set("rowspan", str(1 + whole_number(element.get("morerows"))))
            first, last = _column(element.get("namest")), _column(element.get("nameend"))
            element.set("colspan", str(max(1, last - first + 1)) if first and last else "1")
        elif tag in ("programlisting", "code") and element.get("language"):
            element.set("data-language", element.get("language"))
            element.tag = _NAMES[tag]
        else:
            element.tag = _NAMES.get(tag) or (tag if tag in _HTML else "div" if tag in _SECTIONS else "span")

    def _label(self, element: Element, parent: Element) -> None:
        """Make a title or a number in front of something bold; that of a formula or a note goes."""
        if parent.tag in ("disp-formula", "fn"):
            drop(element)
        elif parent.tag in ("ref", "list-item"):
            element.tag = "span"
            element.text = f"[{(element.text or '').strip('[] ')}] "
        else:
            element.tag = "figcaption" if element.tag == "title" or parent.tag not in _SECTIONS else "span"

    def _note(self, element: Element, *, in_place: bool) -> None:
        name = (
            element.get("id") or element.get("{http://www.w3.org/XML/1998/namespace}id") or f"note-{len(self._notes)}"
        )
        note = etree.Element("aside", id=name)
        note.text = element.text
        note.extend(list(element))
        self._notes.append(note)
        if in_place:
            mark = etree.Element("a", href=f"#{name}", role="doc-noteref")
            mark.text, mark.tail = "1", element.tail
            element.getparent().replace(element, mark)
        else:
            drop(element)


def _column(name: str | None) -> int:
    """Return the number in the name of a column, as programs write it ("c2", "col2")."""
    digits = "".join(sign for sign in name or "" if sign.isdigit())
    return int(digits) if digits and len(digits) < 4 else 0


def _first(root: Element, name: str) -> str:
    found = next(root.iter(name), None)
    return "" if found is None else single_line(all_text(found))


def _published(root: Element) -> str:
    """Return the date of publication of a JATS article as ISO 8601."""
    found = next(root.iter("pub-date"), None)
    if found is None:
        return ""
    parts = (found.findtext(name) or "" for name in ("year", "month", "day"))
    return "-".join(part.strip().zfill(2) for part in parts if part.strip().isdigit())


def _author(author: Element) -> str:
    if author.tag == "contrib" and author.get("contrib-type") not in (None, "author"):
        return ""
    given = next((one.text for one in author.iter("given-names", "firstname", "givenname")), "")
    family = next((one.text for one in author.iter("surname")), "")
    if given or family:
        return single_line(f"{given or ''} {family or ''}")
    return next((single_line(all_text(one)) for one in author.iter("personname", "collab", "orgname")), "")
