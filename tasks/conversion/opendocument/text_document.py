"""An OpenDocument text (.odt) as Markdown, with the heads and feet of its pages once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.office.running_text import says_more_than_a_page_number
from tasks.conversion.opendocument.document import attribute, open_document, optional_part, properties
from tasks.conversion.opendocument.objects import Objects
from tasks.conversion.opendocument.paragraphs import PARAGRAPHS, Context, Paragraph
from tasks.conversion.opendocument.styles import Styles
from tasks.conversion.opendocument.writer import Writer
from tasks.conversion.reading import Reading
from tasks.losses import losses

CONVERTER = "waybill-opendocument 1"

_DEFAULT_MASTER = "Standard"
_HEADS = ("header", "header-first", "header-left")
_FEET = ("footer", "footer-first", "footer-left")


def read_text_document(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the text at *path*. Raises `EncryptedDocument`, `UnreadableDocument`, `TooLarge`."""
    with open_document(path, file_type, shown) as package:
        content = package.parse("content.xml")
        styles_part = optional_part(package, "styles.xml")
        context = context_of(content, styles_part)
        objects = Objects(package, context.lost)
        context.formula = objects.formula
        writer = Writer(context, objects)
        body = Body()
        masters = _masters(styles_part, context.styles)
        _write_running_texts(body, masters, _HEADS, context)
        writer.write(body, _text_of(content, shown, file_type))
        for definition in context.notes.definitions():
            body.block(definition)
        _write_running_texts(body, masters, _FEET, context)
        context.lost["note"] += context.notes.without_text()
        about = properties(package)
        return Reading(
            body=str(body),
            converter=CONVERTER,
            title=about.title,
            created=about.created,
            language=about.language,
            warnings=losses(context.lost),
        )


def context_of(content: Element, styles_part: Element | None) -> Context:
    """Return what all parts of the document share."""
    ends = frozenset(attribute(one, "name") for one in content.iter("{*}annotation-end"))
    return Context(styles=Styles([content, styles_part]), comment_ends=ends)


def _text_of(content: Element, shown: str, file_type: FileType) -> Element:
    text = content.find("{*}body/{*}text")
    if text is None:
        raise UnreadableDocument(f"{shown!r} ({file_type.label}) holds no text document; save it again")
    return text


def _masters(styles_part: Element | None, styles: Styles) -> list[Element]:
    """Return the master pages that the document uses: the default one, and those that its styles ask for."""
    if styles_part is None:
        return []
    masters = list(styles_part.iterfind("{*}master-styles/{*}master-page"))
    used = {_DEFAULT_MASTER, *styles.master_pages()}
    return [one for one in masters if attribute(one, "name") in used] or masters[:1]


def _write_running_texts(body: Body, masters: list[Element], kinds: tuple[str, ...], context: Context) -> None:
    """Add each different head (or foot) once; one that is switched off, or is only a page number, is left out."""
    texts: dict[str, None] = {}
    for master in masters:
        for part in master:
            if local_name(part) in kinds and attribute(part, "display") != "false":
                texts.update(dict.fromkeys(_paragraphs(part, context)))
    for text in texts:
        body.paragraph(text)


def _paragraphs(part: Element, context: Context) -> Iterator[str]:
    for one in part.iter(*PARAGRAPHS):
        text = Paragraph(context).markdown(one, context.styles.paragraph(attribute(one, "style-name")).format)
        if says_more_than_a_page_number(text):
            yield text
