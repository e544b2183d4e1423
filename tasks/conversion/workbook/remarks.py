"""Comments of a worksheet's cells: notes of every version, and threads with their replies.

ECMA-376 part 1, 18.7; MS-XLSX 2.6.202 (threaded comments). A program that writes a thread also writes a note for older
programs in its place, which is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tasks.conversion.markdown_writer import comment, escape, escape_line_starts
from tasks.conversion.office.package import Element, Package
from tasks.conversion.reading import clean_text
from tasks.conversion.whole_numbers import whole_number
from tasks.conversion.workbook.cell_text import decoded
from tasks.conversion.workbook.sheet import Place, place_of

_THREAD_NOTE = "tc="


def comments(package: Package, sheet_member: str, persons: dict[str, str]) -> dict[Place, str]:
    """Return the comments of a worksheet as Markdown by their cell. Raises what `Package.parse` raises."""
    found: defaultdict[Place, list[str]] = defaultdict(list)
    threads: set[Place] = set()
    for member in package.related(sheet_member, "threadedComment"):
        for place, text in _threaded(package.parse(member), persons):
            found[place].append(text)
            threads.add(place)
    for member in package.related(sheet_member, "comments"):
        for place, text in _notes(package.parse(member)):
            if place not in threads:
                found[place].append(text)
    return {place: "\n\n".join(texts) for place, texts in found.items()}


def persons(package: Package, workbook_member: str) -> dict[str, str]:
    """Return the names of those who wrote threads, by id."""
    return {
        one.get("id", ""): one.get("displayName", "")
        for member in package.related(workbook_member, "person")
        for one in package.parse(member).iterfind("{*}person")
    }


def said(author: str, text: str) -> str:
    """Return a comment as Markdown with its author's name."""
    author, text = " ".join(clean_text(author).split()), clean_text(text).strip()
    if author and text.startswith(f"{author}:"):  # Excel begins a note with the name
        text = text[len(author) + 1 :].strip()
    lines = [escape(line.strip()) for line in text.split("\n")]
    shown = "\n\n".join(escape_line_starts(line) for line in lines if line)
    return comment(author, shown)


def _threaded(root: Element, names: dict[str, str]) -> Iterator[tuple[Place, str]]:
    for one in root.iterfind("{*}threadedComment"):
        place = place_of(one.get("ref", ""))
        text = one.findtext("{*}text") or ""
        if place is not None and text.strip():
            yield place, said(names.get(one.get("personId", ""), ""), text)


def _notes(root: Element) -> Iterator[tuple[Place, str]]:
    authors = [one.text or "" for one in root.iterfind("{*}authors/{*}author")]
    for one in root.iterfind("{*}commentList/{*}comment"):
        place = place_of(one.get("ref", ""))
        text = decoded("".join(part.text or "" for part in one.iterfind(".//{*}t") if not _is_reading(part)))
        number = whole_number(one.get("authorId"), -1)
        author = authors[number] if 0 <= number < len(authors) else ""
        if place is not None and text.strip():
            yield place, said("" if author.startswith(_THREAD_NOTE) else author, text)


def _is_reading(text: Element) -> bool:
    return str(text.getparent().tag).endswith("}rPh")
