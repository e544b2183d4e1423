"""What single commands of LaTeX add to the document.

Each function is called after the name of its command was read. It takes the arguments from the document's source and
adds to its output; nothing is returned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks.conversion.html.tree import etree
from tasks.conversion.tex import environments, units
from tasks.conversion.tex.commands import SECTIONS
from tasks.conversion.tex.signs import NAMED, accented
from tasks.conversion.tex.source import expanded
from tasks.conversion.whole_numbers import whole_number

if TYPE_CHECKING:
    from tasks.conversion.tex.reader import Document

_OVERLAY = re.compile(r"<[\d,+.|-]*>")


def accent(document: Document, name: str) -> None:
    letter = document.source.argument()
    if letter.startswith("\\"):
        letter = NAMED.get(letter[1:].strip(), letter[1:].strip())
    document.output.text(accented(name, letter))


def styled(document: Document, tag: str) -> None:
    document.source.take(_OVERLAY)
    element = document.output.open(tag)
    document.fill(element, document.source.argument())
    document.output.close(element)


def section(document: Document, name: str) -> None:
    source = document.source
    starred = source.star()
    source.take(_OVERLAY)
    source.option()
    top = SECTIONS.index(document.top_section)
    level = max(1, SECTIONS.index(name) - top + 1) + document.titled
    if not starred:
        document.references.step(name)
    document.fill(document.output.open(f"h{min(6, level)}"), source.argument())
    document.output.close(document.output.top)


def note(document: Document) -> None:
    document.source.option()
    key = f"note-{len(document.notes) + 1}"
    document.output.add("a", "1", href=f"#{key}", role="doc-noteref")
    note = etree.Element("aside", id=key)
    document.notes.append(note)
    document.fill(note, document.source.argument())


def cite(document: Document, name: str) -> None:
    source = document.source
    source.star()
    before, after = source.option(), source.option()
    keys = source.argument().split(",")
    if name == "nocite":
        return
    if after is None:
        before, after = None, before
    document.output.text("[" + (f"{before} " if before else ""))
    for index, key in enumerate(keys):
        document.output.text("; " if index else "")
        document.references.wait(document.output.add("span"), "cite", key)
    if after:
        document.output.text(", ")
        document.fill(document.output.open("span"), after)
        document.output.close(document.output.top)
    document.output.text("]")


def quantity(document: Document, name: str) -> None:
    source = document.source
    source.option()
    if name == "ang":
        document.output.text(units.angle(source.argument()))
        return
    values = [] if name in ("si", "unit") else [source.argument()]
    if name.endswith("range"):
        values.append(source.argument())
    elif name.endswith("list"):
        values = values[0].split(";")
    unit = source.argument() if name not in ("num", "numrange", "numlist") else ""
    for index, value in enumerate(values):
        document.output.text((" to " if name.endswith("range") else ", ") if index else "")
        parts_of(document, units.number(value))
    parts = units.unit(expanded(unit, document.definitions))
    if parts and values:
        document.output.text("" if parts[0][0] == "°" else "\u00a0")
    parts_of(document, parts)


def parts_of(document: Document, parts: list[units.Part]) -> None:
    for text, power in parts:
        document.output.text(text)
        if power:
            document.output.add("sup", power)


def verb(document: Document) -> None:
    document.source.star()
    end = document.source.peek()
    if end:
        document.source.take(re.compile(re.escape(end)))
        document.output.add("code", document.source.until(end))


def listing(document: Document) -> None:
    document.source.option()
    if document.source.peek() == "{":
        document.output.add("code", document.source.argument())
    else:
        verb(document)


def minted(document: Document) -> None:
    document.source.option()
    document.source.argument()
    listing(document)


def address(document: Document) -> None:
    address = document.source.argument().replace("\\%", "%").replace("\\#", "#").replace("\\_", "_").replace("\\&", "&")
    document.output.add("a", address, href=address)


def link(document: Document) -> None:
    document.source.option()
    address = document.source.argument().replace("\\%", "%").replace("\\#", "#").replace("\\_", "_")
    element = document.output.open("a", href=address)
    document.fill(element, document.source.argument())
    document.output.close(element)


def image(document: Document) -> None:
    document.source.star()
    options = document.source.option() or ""
    document.source.argument()
    alternative = re.search(r"\balt\s*=\s*(?:\{([^{}]*)\}|([^,]*))", options)
    text = (alternative[1] or alternative[2] or "") if alternative else ""
    if text:
        document.output.add("img", alt=text)
    else:
        document.lost["image"] += 1


def caption(document: Document) -> None:
    document.source.star()
    document.source.option()
    kind = environments.float_around(document)
    element = document.output.open("figcaption")
    number = document.references.step(kind) if kind else ""
    document.fill(
        element,
        f"{document.references.name(kind)} {number}: {document.source.argument()}"
        if kind
        else document.source.argument(),
    )
    document.output.close(element)


def line_end(document: Document) -> None:
    document.source.star()
    document.source.option()
    if document.output.top.tag not in ("body", "li", "div", "blockquote"):
        document.output.add("br")


def inline_math(document: Document) -> None:
    document.formula(document.source.until("\\)"), display=False)


def display_math(document: Document) -> None:
    document.formula(document.source.until("\\]"), display=True)


def frame_title(document: Document) -> None:
    document.fill(document.output.open("h2"), document.source.argument())
    document.output.close(document.output.top)


def label(document: Document) -> None:
    document.references.label(document.source.argument())


def quoted(document: Document) -> None:
    document.source.star()
    document.output.text("„" if document.german else "“")
    document.fill(document.output.open("span"), document.source.argument())
    document.output.close(document.output.top)
    document.output.text("“" if document.german else "”")


def counter(document: Document) -> None:
    name, value = document.source.argument(), document.source.argument()
    if name.startswith("enum") and (number := whole_number(value, -1)) >= 0:
        environments.start_list_at(document, number + 1)


def conditional(document: Document) -> None:
    document.source.until("\\fi")


def remark(document: Document) -> None:
    document.source.option()
    document.source.argument()
    document.lost["comment"] += 1


def item(document: Document) -> None:
    environments.item(document)


def end_paragraph(document: Document) -> None:
    document.output.end_paragraph()


def ensure_math(document: Document) -> None:
    document.formula(document.source.argument(), display=False)
