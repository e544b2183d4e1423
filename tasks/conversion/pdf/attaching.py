"""Puts what lies on the pages of a PDF into its Markdown: values of forms, typed text, comments; pure.

Each thing stands after its label or its words. Without a place in the text it is a paragraph after its page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.conversion.markdown_writer import Notes, escape, escape_line_starts
from tasks.conversion.pdf.attached import Attached
from tasks.conversion.pdf.mending import end_of_page
from tasks.conversion.pdf.page_signs import PageSigns
from tasks.conversion.pdf.placement import Condensed, Edits

_WORD_END = re.compile(r"\w*")
_PUNCTUATION = re.compile(r"(?:\\?[^\w\s|])*")


def with_attached(
    markdown: str, pages: Sequence[PageSigns], attached: Sequence[Sequence[Attached]], files: Sequence[str]
) -> str:
    """Return *markdown* with what lies on its *pages*, and with the names of the *files* inside the document."""
    markdown = markdown.rstrip("\n")
    condensed, edits, notes = Condensed(markdown), Edits(markdown), Notes()
    rest: list[str] = []
    for number, things in enumerate(attached, 1):
        unplaced = [
            _alone(one) for key, one in enumerate(things) if not _put(condensed, edits, notes, one, f"{number} {key}")
        ]
        if unplaced:
            at = end_of_page(condensed, pages, number)
            edits.insert(at, ("\n\n" if at else "") + "\n\n".join(unplaced) + ("" if at else "\n\n"))
    if files:
        rest.append(escape_line_starts(escape("Attachments: " + ", ".join(files))))
    return "\n\n".join([edits.result().rstrip("\n"), *rest, *notes.definitions()])


def _put(condensed: Condensed, edits: Edits, notes: Notes, one: Attached, key: str) -> bool:
    """Put one thing at its place; whether it has one."""
    if one.place is None:
        return False
    piece = condensed.between(one.place.before, one.place.after)
    if one.before:
        if piece is None or "|" in condensed.markdown[slice(*piece)]:
            return False
        edits.insert(piece[1], f"{one.text} ")
        return True
    at = piece[0] if piece is not None else condensed.end_of(one.place.before)
    if at is None:
        return False
    punctuation = _PUNCTUATION.match(condensed.markdown, at)
    at = punctuation.end() if punctuation else at
    if one.kind == "comment":
        word = _WORD_END.match(condensed.markdown, at)
        at = word.end() if word else at
        notes.define("comment", key, "\n\n".join(map(escape, one.text.split("\n\n"))))
        edits.insert(at, notes.mark("comment", key).text)
    else:
        edits.insert(at, " " + escape(one.text).replace("\n", "\\\n"))
    return True


def _alone(one: Attached) -> str:
    text = f"{one.label}: {one.text}" if one.label else one.text
    return escape_line_starts(escape(text)).replace("\n", "\\\n")
