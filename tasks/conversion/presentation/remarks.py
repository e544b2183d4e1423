"""What people say about a slide: speaker notes and comments.

Comments have two forms: that of ECMA-376 part 1, 19.4 and 13.3.2, and the threads of newer programs (MS-PPTX 2.1.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import Element, Package
from tasks.conversion.presentation.inheritance import placeholder_of
from tasks.conversion.presentation.paragraphs import Text, text_block
from tasks.conversion.reading import clean_text

NOTES_HEADING = "**Speaker notes:**"
COMMENTS_HEADING = "**Comments:**"


def notes(package: Package, slide: str, text: Text) -> str:
    """Return the speaker notes of *slide* with their heading; empty if it has none. Raises `UnreadableDocument`."""
    body = Body()
    for part in package.related(slide, "notesSlide"):
        for shape in package.parse(part).iter("{*}sp"):
            placeholder, text_body = placeholder_of(shape), shape.find("{*}txBody")
            # The others are the slide's picture, its date and its number.
            if placeholder is not None and placeholder.type == "body" and text_body is not None:
                text.write(body, text_body)
    return f"{NOTES_HEADING}\n\n{body}" if body else ""


def comments(package: Package, slide: str, authors: dict[str, str]) -> str:
    """Return the comments on *slide* as a list with its heading; empty if it has none. Raises `UnreadableDocument`."""
    body = Body()
    for part in package.related(slide, "comments"):
        for comment in package.parse(part).iter("{*}cm", "{*}reply"):
            said = _said(comment)
            if said:
                author = authors.get(comment.get("authorId", ""), "")
                body.item("-", text_block(f"{author}: {said}" if author else said))
    return f"{COMMENTS_HEADING}\n\n{body}" if body else ""


def comment_authors(package: Package, presentation: str) -> dict[str, str]:
    """Return the names of the authors of comments by their ids. Raises `UnreadableDocument`."""
    parts = [*package.related(presentation, "commentAuthors"), *package.related(presentation, "authors")]
    return {
        author.get("id", ""): " ".join(clean_text(author.get("name", "")).split())
        for part in parts
        for author in package.parse(part)
    }


def _said(comment: Element) -> str:
    text = comment.findtext("{*}text")
    paragraphs = [text] if text is not None else list(_paragraphs(comment))
    return " ".join(" ".join(paragraphs).split())


def _paragraphs(comment: Element) -> Iterator[str]:
    for text_body in comment.iterfind("{*}txBody"):
        for paragraph in text_body.iter("{*}p"):
            yield "".join(one.text or "" for one in paragraph.iter("{*}t"))
