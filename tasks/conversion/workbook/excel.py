"""Excel's packages (xlsx, xlsm, xltx, xltm, xlam) of every program that writes them, strict ones too.

ECMA-376 part 1, 12.3 and 18.2. Sheets are in the order of the workbook; hidden ones are marked and counted. A part that
is damaged fails the workbook if it holds cells, and is a warning otherwise.
"""

from __future__ import annotations

from pathlib import Path

from blocks.filetype import FileType
from tasks.conversion.office.package import CoreProperties, Element, Package, Relation
from tasks.conversion.reading import Reading
from tasks.conversion.workbook.cell_text import rich_text
from tasks.conversion.workbook.drawings import drawings
from tasks.conversion.workbook.page_heads import head_text
from tasks.conversion.workbook.remarks import comments, persons
from tasks.conversion.workbook.sheet import MAX_CELLS, Budget, Place, Sheet
from tasks.conversion.workbook.styles import read_styles
from tasks.conversion.workbook.workbook_text import WorkbookText
from tasks.conversion.workbook.worksheet import Book, read_worksheet


def read_excel(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the sheets of a workbook. Raises `TooManyCells`, `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
    with Package(path, file_type, shown) as package:
        return _Workbook(package).read()


class _Workbook:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._budget = Budget()
        self._member = next(iter(package.related("", "officeDocument")), "xl/workbook.xml")
        self._relations = package.relations(self._member)

    def read(self) -> Reading:
        root = self._package.parse(self._member)
        book = Book(
            strings=self._strings(),
            styles=read_styles(self._package, self._related("styles")),
            from_1904=any(one.get("date1904") in ("1", "true") for one in root.iterfind("{*}workbookPr")),
            budget=self._budget,
        )
        text = WorkbookText(self._budget)
        names = self._package.attempt("the authors of comments", lambda: persons(self._package, self._member)) or {}
        for element in root.iterfind("{*}sheets/{*}sheet"):
            self._read_sheet(element, book, text, names)
        if any(one.get("fullCalcOnLoad") in ("1", "true") for one in root.iterfind("{*}calcPr")):
            text.forget_zeros()
        about = self._package.attempt("the properties", self._package.core_properties) or CoreProperties()
        return text.reading(about, self._package.warnings)

    def _read_sheet(self, element: Element, book: Book, text: WorkbookText, names: dict[str, str]) -> None:
        identity = next((value for name, value in element.attrib.items() if name.endswith("}id")), "")
        relation = self._relations.get(identity, Relation("", "", external=True))
        sheet = Sheet(element.get("name", ""), hidden=element.get("state", "visible") != "visible")
        if relation.external or relation.kind not in ("worksheet", "chartsheet", "dialogsheet"):
            return  # a macro sheet
        member = relation.target
        noted: dict[Place, str] = {}
        if relation.kind == "worksheet":
            worksheet = read_worksheet(self._package, member, sheet, book)
            text.heads.update(dict.fromkeys(filter(None, map(head_text, worksheet.heads))))
            noted = self._package.attempt("comments", lambda: comments(self._package, member, names)) or {}
        below = self._package.attempt("drawings", lambda: drawings(self._package, member, self._budget.losses))
        if below:
            sheet.below.append(below)
        text.add(sheet, noted)

    def _strings(self) -> list[str]:
        member = self._related("sharedStrings")
        if member is None:
            return []
        strings: list[str] = []
        for item in self._package.iterate(member, "si"):
            strings.append(rich_text(item))
            self._budget.spend(0 if len(strings) < MAX_CELLS else 1)
            item.clear()
            while item.getprevious() is not None:
                del item.getparent()[0]
        return strings

    def _related(self, kind: str) -> str | None:
        return next(iter(self._package.related(self._member, kind)), None)
