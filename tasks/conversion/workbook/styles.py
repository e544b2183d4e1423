"""The styles of a workbook's cells: their number formats, and whether their text is struck out.

ECMA-376 part 1, 18.8. A workbook without styles, or a cell with a style that is not there, has the format General.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.conversion.number_formats.builtin_formats import BUILTIN_CODES
from tasks.conversion.number_formats.number_format import NumberFormat, number_format
from tasks.conversion.office.package import Element, Package
from tasks.conversion.workbook.cell_text import decoded, is_on


@dataclass(frozen=True, slots=True)
class CellStyle:
    """How a cell shows its value."""

    format: NumberFormat
    struck: bool = False


GENERAL = CellStyle(number_format("General"))


def read_styles(package: Package, member: str | None) -> list[CellStyle]:
    """Return the styles of cells by their index. Raises what `Package.parse` raises."""
    root = package.parse(member) if member else None
    if root is None:
        return []
    codes = dict(BUILTIN_CODES)
    for one in root.iterfind("{*}numFmts/{*}numFmt"):
        codes[_number(one.get("numFmtId"))] = decoded(one.get("formatCode", "General"))
    struck = [is_on(font.find("{*}strike")) for font in root.iterfind("{*}fonts/{*}font")]
    return [_style(one, codes, struck) for one in root.iterfind("{*}cellXfs/{*}xf")]


def _style(element: Element, codes: dict[int, str], struck: list[bool]) -> CellStyle:
    font = _number(element.get("fontId"))
    code = codes.get(_number(element.get("numFmtId")), "General")
    return CellStyle(number_format(code), struck=0 <= font < len(struck) and struck[font])


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
