"""ODT samples, written by hand after OASIS OpenDocument 1.3: headings, lists, a table, metadata."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from tools.sample_writers.archive import pack
from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table, Text

_MEDIA_TYPE = "application/vnd.oasis.opendocument.text"
_NAMESPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in {
        "office": "office",
        "text": "text",
        "table": "table",
        "style": "style",
        "fo": "xsl-fo-compatible",
        "meta": "meta",
    }.items()
)
_DUBLIN_CORE = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_MANIFEST = (
    f"{_DECLARATION}"
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.3">'
    f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{_MEDIA_TYPE}"/>'
    '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
    '<manifest:file-entry manifest:full-path="styles.xml" manifest:media-type="text/xml"/>'
    '<manifest:file-entry manifest:full-path="meta.xml" manifest:media-type="text/xml"/>'
    "</manifest:manifest>"
)
_STYLES = """\
<style:style style:name="Standard" style:family="paragraph" style:class="text">
<style:paragraph-properties fo:margin-bottom="0.25cm"/></style:style>
<style:style style:name="Title" style:family="paragraph" style:parent-style-name="Standard">
<style:text-properties fo:font-size="24pt" fo:font-weight="bold"/></style:style>
<style:style style:name="Subtitle" style:family="paragraph" style:parent-style-name="Standard">
<style:text-properties fo:font-size="14pt"/></style:style>
<style:style style:name="Heading_20_1" style:display-name="Heading 1" style:family="paragraph"
 style:parent-style-name="Standard" style:default-outline-level="1">
<style:text-properties fo:font-size="16pt" fo:font-weight="bold"/></style:style>
"""
_AUTOMATIC_STYLES = """\
<text:list-style style:name="Bullets">
<text:list-level-style-bullet text:level="1" text:bullet-char="\u2022"/></text:list-style>
<text:list-style style:name="Numbers">
<text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/></text:list-style>
"""


def write_opendocument(text: Text, *, language: str) -> bytes:
    """The ODT of *text*. The `mimetype` member comes first and uncompressed, as ODF 1.3 part 2, 3.3 wants it."""
    body = "\n".join(_element(block) for block in text.blocks)
    content = _part(
        "document-content",
        f"<office:automatic-styles>{_AUTOMATIC_STYLES}</office:automatic-styles><office:body><office:text>\n"
        f'<text:p text:style-name="Title">{escape(text.header["title"])}</text:p>\n'
        f'<text:p text:style-name="Subtitle">{escape(text.header["subtitle"])}</text:p>\n'
        f"{body}\n</office:text></office:body>",
    )
    styles = _part("document-styles", f"<office:styles>{_STYLES}</office:styles>")
    return pack(
        [
            ("mimetype", _MEDIA_TYPE.encode()),
            ("content.xml", content),
            ("styles.xml", styles),
            ("meta.xml", _part("document-meta", _meta(text.header, language))),
            ("META-INF/manifest.xml", _MANIFEST.encode()),
        ]
    )


def _part(root: str, inner: str) -> bytes:
    return (
        f'{_DECLARATION}<office:{root} {_NAMESPACES} {_DUBLIN_CORE} office:version="1.3">{inner}</office:{root}>'
    ).encode()


def _meta(header: dict[str, str], language: str) -> str:
    keywords = "".join(f"<meta:keyword>{escape(word)}</meta:keyword>" for word in header["keywords"].split(", "))
    return (
        f"<office:meta><dc:title>{escape(header['title'])}</dc:title><dc:subject>{escape(header['subject'])}</dc:subject>"
        f"<dc:creator>{escape(header['author'])}</dc:creator><dc:date>{header['date']}T12:00:00</dc:date>"
        f"<dc:language>{language}</dc:language>{keywords}</office:meta>"
    )


def _element(block: Block) -> str:
    match block:
        case Heading(level, title):
            return f'<text:h text:style-name="Heading_20_{level}" text:outline-level="{level}">{escape(title)}</text:h>'
        case Paragraph(words):
            return _paragraph(words)
        case Items(texts, numbered):
            items = "".join(f"<text:list-item>{_paragraph(item)}</text:list-item>" for item in texts)
            return f'<text:list text:style-name="{"Numbers" if numbered else "Bullets"}">{items}</text:list>'
        case Table(head, rows):
            name = quoteattr(head[-1])
            columns = f'<table:table-column table:number-columns-repeated="{len(head)}"/>'
            first = f"<table:table-header-rows>{_row(head)}</table:table-header-rows>"
            return f"<table:table table:name={name}>{columns}{first}{''.join(_row(row) for row in rows)}</table:table>"
        case _:
            raise ValueError(f"the ODT samples hold no {type(block).__name__}")


def _paragraph(words: str) -> str:
    return f'<text:p text:style-name="Standard">{escape(words)}</text:p>'


def _row(cells: tuple[str, ...]) -> str:
    inner = "".join(
        f'<table:table-cell office:value-type="string">{_paragraph(cell)}</table:table-cell>' for cell in cells
    )
    return f"<table:table-row>{inner}</table:table-row>"
