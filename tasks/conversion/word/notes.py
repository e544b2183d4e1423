"""The texts of footnotes, endnotes and comments, for the marks that were made.

Footnotes and endnotes follow ECMA-376 part 1, 17.11. Answers to a comment stand below it.
"""

from __future__ import annotations

from tasks.conversion.markdown_writer import NoteKind, comment, escape
from tasks.conversion.reading import clean_text
from tasks.conversion.word.document import Document
from tasks.conversion.word.names import Element, W
from tasks.conversion.word.story import Story
from tasks.conversion.word.writing import StoryWriter


def define_notes(document: Document) -> None:
    """Define the text of every note that was marked, also of those that other notes mark."""
    texts = {
        kind: {note.get(f"{W}id", ""): (name, note) for name, root in document.parts(part) for note in root}
        for kind, part in (("footnote", "footnotes"), ("endnote", "endnotes"))
    }
    done: set[tuple[NoteKind, str]] = set()
    while todo := [note for note in document.notes.marked() if note not in done]:
        for kind, key in todo:
            done.add((kind, key))
            if kind == "comment":
                document.notes.define(kind, key, _comment(document, key))
            elif key in texts[kind]:
                part, element = texts[kind][key]
                own_mark = escape(document.custom_marks.get((kind, key), "").strip())
                text = _text(document, part, element)
                document.notes.define(kind, key, text.removeprefix(own_mark).lstrip() if own_mark else text)
    document.lost["note"] += document.notes.without_text()


def _comment(document: Document, key: str) -> str:
    """Return a comment and the answers to it, as paragraphs."""
    comments = document.comments
    parts: list[str] = []
    for kind, identifier in [("Comment", key), *(("Reply", answer) for answer in comments.answers.get(key, []))]:
        element = comments.elements[identifier]
        parts.append(comment(element.get(f"{W}author", ""), _text(document, comments.part, element), kind))
    return "\n\n".join(filter(None, parts))


def _text(document: Document, part: str, element: Element) -> str:
    """Return the text of a note as Markdown paragraphs."""
    writer = StoryWriter(headings=False)
    writer.write(Story(document, part).read(element))
    return clean_text(str(writer)).strip()
