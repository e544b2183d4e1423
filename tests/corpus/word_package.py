"""Word documents of raw XML: what no library writes, and damage."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_NAMES = f'xmlns:w="{W}" xmlns:r="{_R}" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"


def root(name: str, content: str) -> str:
    """Return a part with the root element *name*."""
    return f"<w:{name} {_NAMES}>{content}</w:{name}>"


def paragraph(content: str, properties: str = "") -> str:
    """Return a paragraph of *content*, text or runs."""
    inner = content if content.startswith("<") else f'<w:r><w:t xml:space="preserve">{content}</w:t></w:r>'
    return f"<w:p><w:pPr>{properties}</w:pPr>{inner}</w:p>"


def in_list(text: str, number: int = 1, level: int = 0) -> str:
    """Return a paragraph of the list *number* on *level*."""
    return paragraph(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


def levels(*given: str) -> str:
    """Return a numbering part whose list 1 has these levels, each a number format and a text ("lowerLetter %1)")."""
    written = "".join(
        f'<w:lvl w:ilvl="{index}"><w:start w:val="1"/><w:numFmt w:val="{one.split(" ", 1)[0]}"/>'
        f'<w:lvlText w:val="{one.split(" ", 1)[1]}"/></w:lvl>'
        for index, one in enumerate(given)
    )
    abstract = f'<w:abstractNum w:abstractNumId="7">{written}</w:abstractNum>'
    return root("numbering", f'{abstract}<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>')


def write_word(path: Path, body: str, parts: Mapping[str, str] | None = None) -> Path:
    """Write a document of *body*; *parts* are XML by kind ("numbering"), related to the main part."""
    parts = parts or {}
    relations = "".join(f'<Relationship Id="{kind}" Type="{_R}/{kind}" Target="{kind}.xml"/>' for kind in parts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{_PACKAGE}/content-types"><Override PartName="/word/document.xml" ContentType="{_TYPE}"/>'
            "</Types>",
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="main" Type="{_R}/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}</Relationships>',
        )
        archive.writestr("word/document.xml", root("document", f"<w:body>{body}</w:body>"))
        for kind, content in parts.items():
            archive.writestr(f"word/{kind}.xml", content)
    return path
