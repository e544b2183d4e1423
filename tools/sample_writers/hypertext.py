"""Blocks as XHTML elements, for the formats that are made of them (EPUB, the HTML body of a message)."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table


def element(block: Block) -> str:
    """The XHTML element of *block*. Raises `ValueError` for one that no sample in hypertext holds."""
    match block:
        case Heading(level, title):
            return f"<h{level}>{escape(title)}</h{level}>"
        case Paragraph(words):
            return f"<p>{escape(words)}</p>"
        case Items(texts, numbered):
            tag = "ol" if numbered else "ul"
            return f"<{tag}>{''.join(f'<li>{escape(item)}</li>' for item in texts)}</{tag}>"
        case Table(head, rows):
            first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            others = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
            return f"<table><thead><tr>{first}</tr></thead><tbody>{others}</tbody></table>"
        case _:
            raise ValueError(f"the samples in hypertext hold no {type(block).__name__}")
