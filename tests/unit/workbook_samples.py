"""Workbooks written part by part, as other programs than openpyxl write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit import conversion_samples as samples

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def write(
    path: Path,
    *sheets: str,
    strings: str = "",
    styles: str = "",
    workbook: str = "",
    states: Sequence[str] = (),
    parts: Mapping[str, str] | None = None,
    namespace: str = MAIN,
) -> Path:
    """Write a workbook of *sheets*, each the XML inside of its ``worksheet`` element.

    *strings* is the inside of ``sst``, *styles* that of ``styleSheet``, *workbook* stands in front of ``sheets``;
    *parts* are further members by name.
    """
    states = [*states, *["visible"] * len(sheets)]
    listed = "".join(
        f'<sheet name="S{number}" sheetId="{number}" state="{states[number - 1]}" r:id="s{number}"/>'
        for number in range(1, len(sheets) + 1)
    )
    members = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": relations(("r1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{namespace}" xmlns:r="{OFFICE}">{workbook}<sheets>{listed}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            *((f"s{number}", "worksheet", f"worksheets/s{number}.xml") for number in range(1, len(sheets) + 1)),
            ("strings", "sharedStrings", "sharedStrings.xml"),
            ("styles", "styles", "styles.xml"),
        ),
    }
    for number, sheet in enumerate(sheets, start=1):
        members[f"xl/worksheets/s{number}.xml"] = (
            f'<worksheet xmlns="{namespace}" xmlns:r="{OFFICE}">{sheet}</worksheet>'
        )
    if strings:
        members["xl/sharedStrings.xml"] = f'<sst xmlns="{namespace}">{strings}</sst>'
    if styles:
        members["xl/styles.xml"] = f'<styleSheet xmlns="{namespace}">{styles}</styleSheet>'
    return samples.package(path, {**members, **(parts or {})})


def relations(*entries: tuple[str, str, str]) -> str:
    """Return a part of relations from (id, kind, target); a target with a scheme is external."""
    listed = "".join(
        f'<Relationship Id="{identity}" Type="{OFFICE}/{kind}" Target="{target}"'
        + (' TargetMode="External"/>' if ":" in target else "/>")
        for identity, kind, target in entries
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{listed}</Relationships>'


def formats(*codes: str) -> str:
    """Return the inside of ``styleSheet`` in which style 1 has the first of *codes*, and so on."""
    listed = "".join(
        f'<numFmt numFmtId="{163 + number}" formatCode="{code.replace("&", "&amp;").replace(chr(34), "&quot;")}"/>'
        for number, code in enumerate(codes, start=1)
    )
    used = "".join(f'<xf numFmtId="{163 + number}"/>' for number in range(1, len(codes) + 1))
    return f'<numFmts>{listed}</numFmts><cellXfs><xf numFmtId="0"/>{used}</cellXfs>'


def rows(*lines: Sequence[str | float | None], first: int = 1) -> str:
    """Return the inside of a ``worksheet`` with rows of texts and numbers; an empty line leaves its row out."""
    written = ""
    for number, line in enumerate(lines, start=first):
        cells = "".join(cell(f"{chr(65 + at)}{number}", value) for at, value in enumerate(line) if value is not None)
        written += f'<row r="{number}">{cells}</row>' if cells else ""
    return f"<sheetData>{written}</sheetData>"


def cell(reference: str, value: str | float) -> str:
    """Return one cell: a text in the cell itself, or a number."""
    if isinstance(value, str):
        text = value.replace("&", "&amp;").replace("<", "&lt;")
        return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def body(path: Path) -> str:
    """Return what stage 1 makes of the workbook, without its header."""
    return samples.split(samples.convert(path))[1]
