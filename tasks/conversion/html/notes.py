"""Notes of a page or a book: their marks, and the elements that hold their text.

Owns what counts as a note: a raised link, or one that says so (DPUB-ARIA, EPUB, the classes of common programs), to a
short element of the same tree. Marks become elements `NOTE`, and the notes' elements are taken out of the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tasks.conversion.html.tree import Element, all_text, drop, etree, has_words, replace
from tasks.conversion.markdown_writer import NoteKind, comment
from tasks.conversion.markdown_writer import Notes as Numbers

# The element that stands for a mark; its attribute "note" is the note's key.
NOTE = "waybill-note"

_SAYS_SO = re.compile(
    r"\b(?:doc-noteref|noteref|footnote-ref\w*|footnote-reference|footnoteref|fnref|endnote-ref\w*|mso-(?:foot|end)note-id)\b",
    re.IGNORECASE,
)
_RAISED_STYLE = re.compile(r"vertical-align\s*:\s*super", re.IGNORECASE)
_BACK = re.compile(r"\b(?:doc-backlink|backlink|footnote-backref|fn-backref|reversefootnote|mw-cite-backlink)\b")
# Comments as Word and Google Docs save them in HTML.
_COMMENT = re.compile(r"cmnt\d|_msocom_\d")
_ARROWS = re.compile(r"[\s↩↑⇑⏎^←\ufe0e\ufe0f\u200a]+|back|return")
_LIST_OF_NOTES = re.compile(r"\b(?:doc-endnotes|footnotes?|endnotes?|rearnotes?)\b")
_MAX_MARK_CHARACTERS = 12
_MAX_NOTE_CHARACTERS = 20_000
_NUMBER_IN_BRACKETS = re.compile(r"\[(?:\d{1,3}|[a-z]|[ivx]{1,5})\]")
_MARK_EDGE = re.compile(r"^[\[(\s]+|[\])\s.:]+$")
# Elements that can hold one note; a larger one is a part of the text.
_HOLDERS = frozenset({"li", "aside", "dd", "dt", "p", "div", "td", "tr", "table", "section", "details"})
_OUTER = frozenset({"li", "aside", "div", "section", "tr", "table"})
_INLINE = frozenset({"span", "sup", "b", "i", "em", "strong", "small"})
_LARGE = ("h1", "h2", "h3", "article", "main", "body", "nav")


class Notes:
    """The notes of a tree by key, numbered in order of their marks."""

    def __init__(self, root: Element) -> None:
        self.elements: dict[str, list[Element]] = {}
        self.missing = 0
        self._keys: dict[Element, str] = {}
        self._labels: dict[str, str] = {}
        self._kinds: dict[str, NoteKind] = {}
        self._numbers = Numbers()
        self._extract(root)

    def mark(self, key: str) -> str:
        """Return the Markdown of a note's mark."""
        return self._numbers.mark(self._kinds[key], key).text

    def definitions(self, blocks_of: Callable[[Element], str]) -> list[str]:
        """Return the notes whose marks were written, each as a block; a note may hold the mark of another one."""
        done = 0
        while done < len(marked := self._numbers.marked()):
            for kind, key in marked[done:]:
                text = "\n\n".join(filter(None, map(blocks_of, self.elements[key])))
                text = _without_label(text, self._labels[key])
                self._numbers.define(kind, key, comment("", text) if kind == "comment" else text)
            done = len(marked)
        return list(self._numbers.definitions())

    def _extract(self, root: Element) -> None:
        links = [link for link in root.iter("a") if (link.get("href") or "").startswith("#") and _is_mark(link)]
        if not links:
            return
        places = {name: one for one in root.iter(etree.Element) if (name := one.get("name") or one.get("id"))}
        places |= {name: one for one in root.iter(etree.Element) if (name := one.get("id"))}
        wanted = {link.get("href")[1:] for link in links}
        targets = {name: places[name] for name in wanted if name in places}
        holders = _holders(targets, set(links))
        back: dict[Element, str] = {}  # where a note's link back leads to
        for link in links:
            name = link.get("href")[1:]
            if name not in targets:
                self.missing += _says_so(link)
            elif name in holders and targets[name] not in back and self._belongs(link, holders[name]):
                back |= {place: place.get("id") or place.get("name") or "" for place in (link, *_near(link))}
                key = self._keys.setdefault(holders[name], str(len(self._keys)))
                self._labels.setdefault(key, _label(link))
                self._kinds[key] = "comment" if _COMMENT.match(name) else "footnote"
                _replace_mark(link, key)
        marks = set(back.values())
        self.elements = {key: _taken_out(holder, marks) for holder, key in self._keys.items()}

    def _belongs(self, link: Element, holder: Element) -> bool:
        """Return whether *link* is a mark of the note: a number in brackets is one only if its note begins with it."""
        if holder in link.iterancestors():
            return False
        if _says_so(link) or _is_raised(link):
            return True
        return _MARK_EDGE.sub("", all_text(holder).strip())[:12].lstrip("[(^ ").startswith(_label(link))


def _is_mark(link: Element) -> bool:
    text = all_text(link).strip()
    if not text or len(text) > _MAX_MARK_CHARACTERS or _is_back(link):
        return False
    return _says_so(link) or _is_raised(link) or _NUMBER_IN_BRACKETS.fullmatch(text) is not None


def _words_of(element: Element) -> str:
    return " ".join(element.get(name) or "" for name in ("role", "epub-type", "class", "style", "rel"))


def _says_so(link: Element) -> bool:
    return _SAYS_SO.search(_words_of(link)) is not None


def _is_raised(link: Element) -> bool:
    inner = [child for child in link.iter("sup", "span") if child.tag == "sup" or _has_raised_style(child)]
    if inner and all_text(inner[0]).strip() == all_text(link).strip():
        return True
    return _has_raised_style(link) or any(
        one.tag == "sup" or _has_raised_style(one) for one in _near(link) if one.tag in _INLINE
    )


def _has_raised_style(element: Element) -> bool:
    return _RAISED_STYLE.search(element.get("style") or "") is not None


def _near(element: Element) -> list[Element]:
    found: list[Element] = []
    for ancestor in element.iterancestors():
        if len(found) == 3:
            break
        found.append(ancestor)
    return found


def _is_back(link: Element) -> bool:
    return _BACK.search(_words_of(link)) is not None or _ARROWS.fullmatch(all_text(link).strip().lower()) is not None


def _label(link: Element) -> str:
    return _MARK_EDGE.sub("", all_text(link).strip())


def _holders(targets: dict[str, Element], links: set[Element]) -> dict[str, Element]:
    """Return the element of each note by the name of its place; places that are no notes have none."""
    ends = set(targets.values())
    found: dict[str, Element] = {}
    for name, target in targets.items():
        holder = target
        while holder is not None and holder.tag not in _HOLDERS:
            holder = holder.getparent() if holder.tag not in _LARGE else None
        if holder is None:
            continue
        parent = holder.getparent()
        while parent is not None and parent.tag in _OUTER and _holds_one(parent, holder, ends, links):
            holder, parent = parent, parent.getparent()
        if holder.tag == "td":
            holder = holder.getparent()
        if len(all_text(holder)) <= _MAX_NOTE_CHARACTERS and next(holder.iter(*_LARGE), None) is None:
            found[name] = holder
    return found


def _holds_one(parent: Element, holder: Element, ends: set[Element], links: set[Element]) -> bool:
    """Return whether *parent* is around one note only, which begins in it."""
    first = not (parent.text or "").strip() and parent[0] is holder
    if not first or next(parent.iter(*_LARGE), None) is not None:
        return False
    inside = set(parent.iter(etree.Element))
    return len(ends & inside) <= 1 and not _own_marks(links & inside, holder)


def _own_marks(links: set[Element], holder: Element) -> bool:
    inside = set(holder.iter(etree.Element))
    return any(link not in inside for link in links)


def _replace_mark(link: Element, key: str) -> None:
    """Put the note's mark in the place of its link, and of what only raises the link or puts it in brackets."""
    place = link
    for ancestor in _near(link):
        raises = ancestor.tag in _INLINE
        if not raises or _MARK_EDGE.sub("", all_text(ancestor).strip()) != _label(link):
            break
        place = ancestor
    if place.getparent() is not None:
        replace(place, NOTE, "", note=key)


def _taken_out(holder: Element, back: set[str]) -> list[Element]:
    """Take a note out of the tree, without its links to the places *back*; return its elements."""
    elements = [holder]
    if holder.tag == "dt":
        sibling = holder.getnext()
        while sibling is not None and sibling.tag == "dd":
            elements.append(sibling)
            sibling = sibling.getnext()
    for element in elements:
        _drop_links_back(element, back)
        parent, before = element.getparent(), element.getprevious()
        drop(element)
        if before is not None and before.tag == "hr" and before.getnext() is None and not (before.tail or "").strip():
            drop(before)
        if parent is not None:
            _drop_emptied(parent)
    return elements


def _drop_links_back(note: Element, back: set[str]) -> None:
    for element in list(note.iter("a", "span", "sup", "cite")):
        address = element.get("href") or "" if element.tag == "a" else ""
        leads_back = address.startswith("#") and (address[1:] in back or _is_back(element))
        if leads_back or (element.tag != "a" and _BACK.search(element.get("class") or "")):
            _drop_with_brackets(element, note)


def _drop_with_brackets(element: Element, note: Element) -> None:
    """Remove *element* and what around it has only brackets left."""
    parent = element.getparent()
    if parent is None or element is note:
        return
    drop(element)
    while parent is not None and parent is not note and parent.tag in _INLINE and not has_words(parent):
        above = parent.getparent()
        drop(parent)
        parent = above


def _drop_emptied(parent: Element) -> None:
    """Remove what held only notes: the list, its rule, its section."""
    while parent is not None and parent.tag not in ("body", "html", "td", "th") and not _holds_more(parent):
        above = parent.getparent()
        if above is None:
            return
        before = parent.getprevious()
        if before is not None and before.tag == "hr" and not (before.tail or "").strip():
            drop(before)
        drop(parent)
        parent = above


def _holds_more(element: Element) -> bool:
    if _LIST_OF_NOTES.search(_words_of(element)):
        texts: Iterable[Element] = (
            one for one in element if one.tag not in ("h1", "h2", "h3", "h4", "p", "header", "hr")
        )
        heading_only = len(element.findall("p")) == 0
        return any(has_words(one) for one in texts) or not heading_only
    return has_words(element) or next(element.iter("img", "formula", "input"), None) is not None


def _without_label(text: str, label: str) -> str:
    """Return a note's text without its number, which the definition has."""
    number = re.escape(label)
    bracketed = rf"\\?\[{number}\\?\]"
    forms = rf"\^{bracketed}\^|\^{number}\^|{bracketed}|\({number}\)|{number}(?:\\?[.):\]]|(?=\s))"
    own = rf"(?:\*\*|\*)?(?:{forms})[.:]?(?:\*\*|\*)?\s*"
    return re.sub(rf"\A(?:{own})(?=\S)", "", text, count=1) if label else text
