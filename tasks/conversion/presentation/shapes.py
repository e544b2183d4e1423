"""The shapes of one slide, in the order of reading, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.office.pictures import description
from tasks.conversion.office.reading_order import Box, reading_order
from tasks.conversion.presentation.frames import Frames
from tasks.conversion.presentation.inheritance import Chain, Inheritance, own_box, placeholder_of
from tasks.conversion.presentation.paragraphs import Text, text_block

_DRAWN = frozenset({"sp", "grpSp", "graphicFrame", "pic", "cxnSp", "AlternateContent", "contentPart"})
# Placeholders with the same text on every slide.
_RUNNING = frozenset({"dt", "ftr", "sldNum", "hdr"})


@dataclass
class Slide:
    """One slide as it is read: `title` on one line, `body` below it, and the texts of its foot."""

    title: str
    body: Body
    feet: list[str]


class SlideReader:
    """Reads the shapes of the slides of one presentation; what cannot be carried over counts in `lost`."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._inheritance = Inheritance(package)
        self.lost: Counter[str] = Counter()

    def text(self, part: str, chain: Chain | None = None) -> Text:
        """Return how text in *part* is read: with the links of the part and what *chain* inherits."""
        relations = self._package.relations(part)

        def target(relation: str) -> str:
            found = relations.get(relation)
            return found.target if found is not None and found.external else ""

        return Text(target, self.lost) if chain is None else Text(target, self.lost, chain.bullet)

    def read(self, part: str, root: Element) -> Slide:
        """Return the slide whose part has the element *root*."""
        slide = Slide(title="", body=Body(), feet=[])
        tree = root.find("{*}cSld/{*}spTree")
        if tree is not None:
            self._write_children(slide, part, tree)
        return slide

    def _write_children(self, slide: Slide, part: str, parent: Element) -> None:
        shapes = [*_drawn(parent)]
        chains = [self._inheritance.chain(part, shape) for shape in shapes]
        boxes = [own_box(shape) or chain.box() for shape, chain in zip(shapes, chains, strict=True)]
        for index in _order(shapes, boxes):
            self._write_shape(slide, part, shapes[index], chains[index])

    def _write_shape(self, slide: Slide, part: str, shape: Element, chain: Chain) -> None:
        kind = local_name(shape)
        if _is_hidden(shape):
            self.lost["hidden-text"] += any((one.text or "").strip() for one in shape.iter("{*}t"))
        elif kind == "sp":
            self._write_text(slide, part, shape, chain)
        elif kind == "grpSp":
            self._write_children(slide, part, shape)
        elif kind == "graphicFrame":
            Frames(self._package, part, self.text(part), self.lost).write(slide.body, shape)
        elif kind == "pic":
            self._write_picture(slide, shape)
        elif kind == "contentPart":  # ink
            self.lost["image"] += 1

    def _write_text(self, slide: Slide, part: str, shape: Element, chain: Chain) -> None:
        text_body = shape.find("{*}txBody")
        if text_body is None:
            return
        placeholder = placeholder_of(shape)
        text = self.text(part, chain)
        if placeholder is not None and placeholder.is_title and not slide.title:
            slide.title = text.line(text_body)
        elif placeholder is not None and placeholder.type in _RUNNING:
            if placeholder.type in ("ftr", "hdr") and (foot := text.line(text_body)):
                slide.feet.append(foot)
        else:
            text.write(slide.body, text_body)

    def _write_picture(self, slide: Slide, shape: Element) -> None:
        properties = shape.find("./*/{*}cNvPr")
        if properties is None or _is_decorative(properties):
            return
        if text := description(properties.get("descr")):
            slide.body.paragraph(text_block(text))
        else:
            self.lost["image"] += 1


def _drawn(parent: Element) -> Iterator[Element]:
    """Yield what is drawn in *parent*; of alternatives the one for programs that know it (part 3, 9.3)."""
    for child in parent:
        kind = local_name(child)
        if kind == "AlternateContent":
            choice, fallback = child.find("{*}Choice"), child.find("{*}Fallback")
            known = choice is not None and choice.find("{*}contentPart") is None
            chosen = choice if known else fallback
            if chosen is not None:
                yield from _drawn(chosen)
        elif kind in _DRAWN:
            yield child


def _order(shapes: list[Element], boxes: list[Box | None]) -> list[int]:
    """Return the order of reading: titles first, then what has no place of its own, then by place."""
    placeholders = [placeholder_of(shape) for shape in shapes]
    titles = [index for index, one in enumerate(placeholders) if one is not None and one.is_title]
    rest = [index for index in range(len(shapes)) if index not in titles]
    unplaced = [index for index in rest if boxes[index] is None]
    placed = [(index, box) for index in rest if (box := boxes[index]) is not None]
    ordered = reading_order([box for _, box in placed])
    return [*titles, *unplaced, *(placed[index][0] for index in ordered)]


def _is_hidden(shape: Element) -> bool:
    properties = shape.find("./*/{*}cNvPr")
    return properties is not None and properties.get("hidden") in ("1", "true")


def _is_decorative(properties: Element) -> bool:
    return any(one.get("val") in ("1", "true") for one in properties.iter("{*}decorative"))
