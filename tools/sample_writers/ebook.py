"""EPUB samples, written by hand after EPUB 3.3: one chapter for each level-1 heading, with a navigation document."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tools.sample_writers.archive import pack
from tools.sample_writers.hypertext import element
from tools.sample_writers.markup import Block, Heading, Text

_CONTAINER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def write_ebook(text: Text, *, language: str, identifier: str) -> bytes:
    """The EPUB of *text*; *identifier* is a URN. The `mimetype` member comes first and uncompressed (OCF 4.3)."""
    chapters = _chapters(text)
    names = [f"chapter-{number}.xhtml" for number in range(1, len(chapters) + 1)]
    pages = [
        (f"OEBPS/{name}", _page(title, blocks, language)) for name, (title, blocks) in zip(names, chapters, strict=True)
    ]
    return pack(
        [
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", _CONTAINER.encode()),
            ("OEBPS/package.opf", _package(text.header, names, language, identifier)),
            ("OEBPS/nav.xhtml", _navigation(text.header["title"], names, [title for title, _ in chapters], language)),
            *pages,
        ]
    )


def _chapters(text: Text) -> list[tuple[str, list[Block]]]:
    chapters: list[tuple[str, list[Block]]] = []
    for block in text.blocks:
        if isinstance(block, Heading) and block.level == 1:
            chapters.append((block.text, []))
        else:
            chapters[-1][1].append(block)
    return chapters


def _xhtml(title: str, body: str, language: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" '
        f'xml:lang="{language}" lang="{language}"><head><title>{escape(title)}</title></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    ).encode()


def _page(title: str, blocks: list[Block], language: str) -> bytes:
    return _xhtml(title, "\n".join([f"<h1>{escape(title)}</h1>", *(element(block) for block in blocks)]), language)


def _navigation(title: str, names: list[str], titles: list[str], language: str) -> bytes:
    entries = "".join(
        f'<li><a href="{name}">{escape(chapter)}</a></li>' for name, chapter in zip(names, titles, strict=True)
    )
    return _xhtml(title, f'<nav epub:type="toc"><h1>{escape(title)}</h1><ol>{entries}</ol></nav>', language)


def _package(header: dict[str, str], names: list[str], language: str, identifier: str) -> bytes:
    items = "".join(
        f'<item id="c{number}" href="{name}" media-type="application/xhtml+xml"/>' for number, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(names)))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">{identifier}</dc:identifier><dc:title>{escape(header["title"])}</dc:title>'
        f"<dc:language>{language}</dc:language><dc:creator>{escape(header['author'])}</dc:creator>"
        f"<dc:subject>{escape(header['subject'])}</dc:subject>"
        f"<dc:description>{escape(header['subtitle'])}</dc:description>"
        f"<dc:date>{header['date']}</dc:date>"
        f'<meta property="dcterms:modified">{header["date"]}T12:00:00Z</meta></metadata><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f"{items}</manifest><spine>{spine}</spine></package>\n"
    ).encode()
