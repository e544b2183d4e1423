"""PowerPoint presentations, with the speaker notes next to their slides.

Owns the notes, which xberg leaves out. They are read from the package itself (ECMA-376 part 1: 13.3.5 notes slide,
19.2.1.33 slide list; part 2: 9.3 relationships), member by member and bounded; no picture or video is loaded. Notes
that cannot be read are left out with a warning: they never fail a presentation whose slides were read.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from blocks.filetype import FileType
from tasks.conversion.reading import Reading, clean_text
from tasks.conversion.xberg_reader import extract

# A slide's notes are a few kB of text in some tens of kB of XML.
_MAX_PART_BYTES = 4 << 20
_RELATIONSHIP = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_PRESENTATION = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_DOCUMENT_RELATIONSHIPS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_NOTES_HEADING = "**Speaker notes:**"


class _UnreadablePart(Exception):
    """A part of the package that is missing, damaged or too large."""


def read_slides(path: Path, file_type: FileType, shown: str, *, include_speaker_notes: bool) -> Reading:
    """Return the slides, each followed by its notes. Raises what `extract` raises."""
    reading = extract(path, file_type, shown, page_by_page=include_speaker_notes)
    if not include_speaker_notes:
        return reading
    try:
        notes = _notes_by_slide(path)
    except _UnreadablePart:
        return replace(reading, warnings=(*reading.warnings, "the speaker notes could not be read and were left out"))
    if not any(notes.values()):
        return reading
    if not reading.page_texts:
        texts = [reading.body, *(_noted("", note) for note in notes.values() if note)]
    else:
        texts = [_noted(text, notes.get(number, "")) for number, text in enumerate(reading.page_texts, start=1)]
    return replace(reading, body="\n\n".join(text.strip("\n") for text in texts if text.strip()) + "\n")


def _noted(slide: str, note: str) -> str:
    return f"{slide.rstrip()}\n\n{_NOTES_HEADING}\n\n{note}" if note else slide


def _notes_by_slide(path: Path) -> dict[int, str]:
    """Return the notes' text by slide number from 1. Raises `_UnreadablePart`."""
    try:
        with zipfile.ZipFile(path) as package:
            return {
                number: _notes_of(package, slide) for number, slide in enumerate(_slides_in_order(package), start=1)
            }
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, NotImplementedError) as exc:
        raise _UnreadablePart from exc


def _slides_in_order(package: zipfile.ZipFile) -> Iterator[str]:
    main = "ppt/presentation.xml"
    targets = _relationships(package, main)
    for slide in _parse(package, main).iter(f"{_PRESENTATION}sldId"):
        yield targets[slide.get(f"{_DOCUMENT_RELATIONSHIPS}id", "")][1]


def _notes_of(package: zipfile.ZipFile, slide: str) -> str:
    targets = _relationships(package, slide).values()
    part = next((target for kind, target in targets if kind.endswith("/notesSlide")), None)
    if part is None:
        return ""
    paragraphs: list[str] = []
    for shape in _parse(package, part).iter(f"{_PRESENTATION}sp"):
        placeholder = next(shape.iter(f"{_PRESENTATION}ph"), None)
        if placeholder is None or placeholder.get("type") != "body":  # slide picture, date, slide number
            continue
        paragraphs += [_paragraph_text(paragraph) for paragraph in shape.iter(f"{_DRAWING}p")]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _paragraph_text(paragraph: ElementTree.Element) -> str:
    parts: list[str] = []
    for element in paragraph.iter():
        if element.tag == f"{_DRAWING}t":
            parts.append(element.text or "")
        elif element.tag == f"{_DRAWING}br":
            parts.append("\n")
    return clean_text("".join(parts)).strip()


def _relationships(package: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Return the relationships of *part*, from id to (type, member name); empty when it has none."""
    folder, name = posixpath.split(part)
    member = f"{folder}/_rels/{name}.rels"
    if member not in package.NameToInfo:
        return {}
    return {
        relationship.get("Id", ""): (
            relationship.get("Type", ""),
            posixpath.normpath(posixpath.join("/", folder, relationship.get("Target", ""))).lstrip("/"),
        )
        for relationship in _parse(package, member).iter(_RELATIONSHIP)
        if relationship.get("TargetMode") != "External"
    }


def _parse(package: zipfile.ZipFile, member: str) -> ElementTree.Element:
    with package.open(member) as part:
        data = part.read(_MAX_PART_BYTES + 1)
    # The format forbids document type declarations, which entity bombs need.
    if len(data) > _MAX_PART_BYTES or b"<!DOCTYPE" in data:
        raise _UnreadablePart(member)
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - bounded, and without a DTD there is nothing to expand
    except ElementTree.ParseError as exc:
        raise _UnreadablePart(member) from exc
