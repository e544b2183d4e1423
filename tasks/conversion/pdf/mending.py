"""Mends the Markdown of a PDF by what its pages say: line ends, raised and lowered signs, notes at the foot; pure.

Every mend needs its place in the Markdown; what is not found there is left as the library wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from tasks.conversion.line_ends import LineEnd, LineEnds, english_words, words_of
from tasks.conversion.markdown_writer import Notes, Run, escape, inline
from tasks.conversion.ocr.pages import ReadPage
from tasks.conversion.pdf.page_signs import Foot, PageSigns, Place, Shifted
from tasks.conversion.pdf.placement import Condensed, Edits, condense

# What does not count in the piece at a joint: white space, escapes, and the sign that the line ended with.
_AT_JOINT = re.compile(r"[\s\\\-\u00ad\u2010\u2011\ufffe–−/._=&?%]+")
_PAGE_END, _FIRST_WORD = re.compile(r"(\S{0,60}?)([-\u00ad\u2010\ufffe])\s*\Z"), re.compile(r"\s*([^\s\ufffe]{1,80})")
_PAGE_CONTEXT = 80
_MARKS = re.compile(r"([*_]{1,3})\Z")
_SIGNS_BEFORE, _SIGNS_AFTER = re.compile(r"[^\w\r\n]*\Z"), re.compile(r"[^\w\r\n]*")
_SPACE_OR_ESCAPE = re.compile(r"[\s\\]+")
_WORD_BEFORE = re.compile(r"(\w+)\W*\Z")
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
_BASE_OF_POWER = re.compile(r"(?:\d|(?<![^\W_])[^\W\d_])\Z")
_FRACTION = re.compile(r"[/⁄]\d")


def mended(markdown: str, pages: Sequence[PageSigns], addresses: Iterable[str] = ()) -> str:
    """Return *markdown* with the line ends, the raised signs and the notes of *pages*, and *addresses* in one piece."""
    markdown = _with_line_ends(_without_turned_headings(markdown, pages), pages)
    markdown = _with_whole_addresses(markdown, pages, addresses)
    return _with_notes(_with_shifted(markdown, pages), pages)


def _without_turned_headings(markdown: str, pages: Sequence[PageSigns]) -> str:
    """xberg takes a large watermark for a heading, and everything after it would stand under "DRAFT"."""
    turned = {condense(text) for page in pages for text in page.turned} - {""}
    if not turned:
        return markdown
    return _HEADING.sub(lambda found: found[1] if condense(found[1]) in turned else found[0], markdown)


def with_pages(markdown: str, pages: Sequence[PageSigns], read: Sequence[ReadPage]) -> str:
    """Return *markdown* with the text of pages that were read by OCR, each after the page before it."""
    if not read:
        return markdown
    condensed = Condensed(markdown)
    at = {page.number: end_of_page(condensed, pages, page.number - 1) for page in read}
    parts: list[str] = []
    start = 0
    for page in read:
        end = max(start, at[page.number])
        parts += (markdown[start:end].strip("\n"), page.marked())
        start = end
    return "\n\n".join(part for part in (*parts, markdown[start:].strip("\n")) if part) + "\n"


def end_of_page(condensed: Condensed, pages: Sequence[PageSigns], number: int) -> int:
    """Return where the paragraph ends that the text of page *number* or of one before it ends with; 0 if none does."""
    for page in reversed(pages[:number]):
        if page.is_scan:
            continue
        piece = condensed.last(page.text)
        if piece is not None:
            end = condensed.markdown.find("\n\n", piece)
            return len(condensed.markdown) if end < 0 else end
    return 0


def _with_line_ends(markdown: str, pages: Sequence[PageSigns]) -> str:
    inside = [one for page in pages for one in page.ends]
    between = list(_page_ends(pages))
    ends = [*inside, *between]
    if not ends:
        return markdown
    words = words_of("\r\n".join(page.text for page in pages))
    rules = LineEnds((end for end, _ in ends), words, english_words())
    condensed, edits = Condensed(markdown), Edits(markdown)
    for end, place in inside:
        joint = rules.joint(end)
        if joint is not None:
            _join(condensed, edits, end, place, joint)
            _part(condensed, edits, place.before[: len(place.before) - len(end.left)], end.left + place.after)
            _part(condensed, edits, place.before + end.right, place.after[len(end.right) :])
    for end, place in between:
        joint = rules.joint(end)
        if joint is not None:
            _join(condensed, edits, end, place, joint, across_pages=True)
    return edits.result()


def _page_ends(pages: Sequence[PageSigns]) -> Iterator[tuple[LineEnd, Place]]:
    """Yield the hyphens that pages end with, where the next page goes on at once: neither has a foot or a head."""
    for page, after in pairwise(pages):
        found = _PAGE_END.search(page.text[-_PAGE_CONTEXT:])
        first = _FIRST_WORD.match(after.text)
        if found and first:
            yield (
                LineEnd(found[1], first[1], "-" if found[2] == "\ufffe" else found[2]),
                Place(page.text[-_PAGE_CONTEXT:][: found.end(1)], after.text[first.start(1) : _PAGE_CONTEXT]),
            )


def _part(condensed: Condensed, edits: Edits, before: str, after: str) -> None:
    """Put the blank between two words back that xberg 1.3.9 loses next to some of those it joins: "undRückfahrt"."""
    if before[-1:] == " " or after[:1] == " ":
        piece = condensed.between(before, after)
        if piece is not None and piece[0] == piece[1]:
            edits.replace(*piece, " ")


def _join(
    condensed: Condensed, edits: Edits, end: LineEnd, place: Place, joint: str, *, across_pages: bool = False
) -> None:
    piece = condensed.between(place.before, place.after)
    if piece is None and not end.left:
        piece = _after_doubled_letter(condensed, edits, place)
    if piece is None:
        return
    text = condensed.markdown[slice(*piece)]
    marks = _MARKS.search(text)
    emphasis = marks[1] if marks else ""
    before, after = _signs(_SIGNS_BEFORE, place.before), _signs(_SIGNS_AFTER, place.after)
    if ("\n\n" in text and not across_pages) or _AT_JOINT.sub("", text.removesuffix(emphasis)) != _AT_JOINT.sub(
        "", before + after
    ):
        return
    joined = before + (joint.lstrip() if before.endswith(" ") else joint) + after
    edits.replace(*piece, escape(joined) + emphasis)


def _signs(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


def _after_doubled_letter(condensed: Condensed, edits: Edits, place: Place) -> tuple[int, int] | None:
    """xberg 1.3.9 makes "fell tto12" of "fell to -" and "12": the word before the minus has its first letter twice."""
    word = _WORD_BEFORE.search(place.before)
    if word is None:
        return None
    doubled = place.before[: word.start()] + word[1][0] + word[1]
    piece = condensed.between(doubled, place.after)
    if piece is None:
        return None
    letter = piece[0] - len(word[1]) - 1
    if condensed.markdown[letter : piece[0]] != word[1][0] + word[1]:
        return None
    edits.replace(letter, letter + 1, "")
    return piece


def _with_whole_addresses(markdown: str, pages: Sequence[PageSigns], addresses: Iterable[str]) -> str:
    """Take blanks out of the addresses that links of the document lead to, and put the one after them back."""
    condensed, edits = Condensed(markdown), Edits(markdown)
    for address in dict.fromkeys(addresses):
        for shown in (address, address.partition("://")[2], address.removeprefix("mailto:")):
            piece = condensed.whole(shown)
            if piece is None:
                continue
            text = condensed.markdown[slice(*piece)]
            if not shown.rstrip("/").startswith(_SPACE_OR_ESCAPE.sub("", text)):
                break
            follows = condensed.markdown[piece[1] : piece[1] + 1]
            is_cut = follows.isalnum() and not any(f"{shown}{follows}" in page.text for page in pages)
            edits.replace(*piece, re.sub(r"\s+", "", text) + (" " if is_cut else ""))
            break
    return edits.result()


def _with_shifted(markdown: str, pages: Sequence[PageSigns]) -> str:
    shifted = [one for page in pages for one in page.shifted]
    if not shifted:
        return markdown
    condensed, edits = Condensed(markdown), Edits(markdown)
    for one in shifted:
        piece = _piece(condensed, one)
        if piece is None:
            continue
        text = inline((Run(text=one.text, position="raised" if one.raised else "lowered"),))
        if one.raised and one.text.isdigit() and _FRACTION.match(one.place.after):
            text = f" {one.text}" if one.place.before[-1:].isdigit() else one.text
        edits.replace(*piece, text + _end(condensed, piece, blank=one.blank_after))
    return edits.result()


def _piece(condensed: Condensed, one: Shifted) -> tuple[int, int] | None:
    """Return the piece of the Markdown that is the raised text, with the white space around it."""
    piece = condensed.between(one.place.before, one.place.after, one.text)
    if piece is None:
        return None
    before = _SPACE_OR_ESCAPE.sub("", _signs(_SIGNS_BEFORE, one.place.before))
    pattern = (
        "".join(rf"\\?{re.escape(sign)}" for sign in before) + r"(\s*" + r"\s*".join(map(re.escape, one.text)) + r"\s*)"
    )
    found = re.compile(pattern).match(condensed.markdown, *piece)
    return found.span(1) if found else None


def _end(condensed: Condensed, piece: tuple[int, int], *, blank: bool) -> str:
    """Return the white space after a raised text: the Markdown's where a paragraph ends, else the page's."""
    text = condensed.markdown[slice(*piece)]
    space = text[len(text.rstrip()) :]
    if "\n\n" in space or blank:
        return space
    return ""


def _with_notes(markdown: str, pages: Sequence[PageSigns]) -> str:
    """Make notes of the lines at the feet of pages whose mark stands once in the page's text."""
    pairs = [pair for page in pages for pair in _pairs(page)]
    if not pairs:
        return markdown
    condensed, edits, notes = Condensed(markdown), Edits(markdown), Notes()
    for number, (one, foot) in enumerate(pairs):
        mark = condensed.between(one.place.before, one.place.after, one.text)
        text = condensed.whole(foot.mark + foot.text)
        if mark is None or text is None or not _is_mark(condensed, mark, one.text):
            continue
        whole = condensed.markdown[mark[0] : mark[1]]
        edits.replace(mark[0], mark[1], whole.replace(f"^{one.text}^", notes.mark("footnote", str(number)).text, 1))
        end = _sentence_end(condensed.markdown, text[1])
        notes.define("footnote", str(number), _note_text(condensed.markdown[text[0] : end], foot))
        edits.replace(text[0], end, "")
    return "\n\n".join([_EMPTY_LINES.sub("\n\n", edits.result()).rstrip("\n"), *notes.definitions()])


def _pairs(page: PageSigns) -> list[tuple[Shifted, Foot]]:
    marks: dict[str, list[Shifted]] = {}
    for one in page.shifted:
        if one.raised:
            marks.setdefault(one.text, []).append(one)
    feet = [foot.mark for foot in page.feet]
    return [
        (one, foot)
        for foot in page.feet
        if feet.count(foot.mark) == 1 and (one := _mark_of(marks.get(foot.mark, []))) is not None
    ]


def _mark_of(candidates: list[Shifted]) -> Shifted | None:
    """Return the one mark of a note among the raised signs like it, not "m^2^" or "10^3^" if there is another."""
    likely = [one for one in candidates if not _BASE_OF_POWER.search(one.place.before.rstrip())]
    chosen = likely or candidates
    return chosen[0] if len(chosen) == 1 else None


def _is_mark(condensed: Condensed, piece: tuple[int, int], text: str) -> bool:
    return f"^{text}^" in condensed.markdown[slice(*piece)]


def _sentence_end(markdown: str, end: int) -> int:
    match = re.compile(r"[^\w\s|]*").match(markdown, end)
    return match.end() if match else end


def _note_text(markdown: str, foot: Foot) -> str:
    return " ".join(markdown.removeprefix(foot.mark).split())
