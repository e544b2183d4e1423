"""A PowerPoint presentation as Markdown: a heading for each slide's title, its contents, its notes, its comments.

Notes and comments that cannot be read are left out with a warning: they never fail a presentation whose slides were
read. The texts of the slides' feet stand once, at the end.
"""

from __future__ import annotations

from pathlib import Path

from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import CoreProperties, Element, Package
from tasks.conversion.presentation.remarks import comment_authors, comments, notes
from tasks.conversion.presentation.shapes import SlideReader
from tasks.conversion.reading import Reading
from tasks.losses import losses

CONVERTER = "waybill-slides 1"


def read_slides(path: Path, file_type: FileType, shown: str, *, include_speaker_notes: bool) -> Reading:
    """Return the slides in order. Raises `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
    with Package(path, file_type, shown) as package:
        return _Presentation(package, include_speaker_notes=include_speaker_notes).read()


class _Presentation:
    def __init__(self, package: Package, *, include_speaker_notes: bool) -> None:
        self._package = package
        self._include_speaker_notes = include_speaker_notes
        self._slides = SlideReader(package)
        self._body = Body()
        self._feet: dict[str, None] = {}

    def read(self) -> Reading:
        main = next(iter(self._package.related("", "officeDocument")), "ppt/presentation.xml")
        parts = self._parts(main)
        authors = self._package.attempt("the authors of comments", lambda: comment_authors(self._package, main)) or {}
        for part in parts:
            self._write_slide(part, authors)
        for foot in self._feet:
            self._body.paragraph(foot)
        about = self._package.attempt("the properties", self._package.core_properties) or CoreProperties()
        return Reading(
            body=str(self._body),
            converter=CONVERTER,
            title=about.title,
            created=about.created,
            language=about.language,
            pages=len(parts),
            warnings=(*losses(self._slides.lost), *self._package.warnings),
        )

    def _parts(self, main: str) -> list[str]:
        """Return the slides' parts in the order in which they are shown (ECMA-376 part 1, 19.2.1.34)."""
        relations = self._package.relations(main)
        listed = [
            relations[relation].target
            for slide in self._package.parse(main).iter("{*}sldId")
            for name, relation in slide.attrib.items()
            if name.endswith("}id") and relation in relations
        ]
        return [part for part in listed if part in self._package]

    def _write_slide(self, part: str, authors: dict[str, str]) -> None:
        root = self._package.attempt("slides", lambda: self._package.parse(part))
        if root is None:
            self._slides.lost["part"] += 1
            return
        slide = self._slides.read(part, root)
        self._body.heading(2, f"{slide.title} {self._hidden(root)}")
        self._body.block(str(slide.body))
        self._feet.update(dict.fromkeys(slide.feet))
        if self._include_speaker_notes:
            self._body.block(self._package.attempt("the speaker notes", lambda: self._notes(part)) or "")
        self._body.block(self._package.attempt("comments", lambda: comments(self._package, part, authors)) or "")

    def _hidden(self, root: Element) -> str:
        """Return what the title of a slide that is not shown says of it; such slides are counted."""
        if root.get("show") not in ("0", "false"):
            return ""
        self._slides.lost["hidden-slide"] += 1
        return "(hidden)"

    def _notes(self, part: str) -> str:
        return notes(self._package, part, self._slides.text(part))
