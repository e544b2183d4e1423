"""What the sheets of OpenDocument spreadsheets show."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import EncryptedDocument, NoText, TooLarge, UnreadableDocument
from tasks.conversion.workbook import sheet as sheet_module
from tests.unit import conversion_samples as samples

_NAMES = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in {
        "office": "office",
        "table": "table",
        "text": "text",
        "style": "style",
        "number": "datastyle",
        "draw": "drawing",
        "svg": "svg-compatible",
        "chart": "chart",
    }.items()
)
_NAMES += ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.ods"


def write(path: Path, tables: str, automatic: str = "", styles: str = "", parts: dict[str, str] | None = None) -> Path:
    members = {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": f"<office:document-content {_NAMES}><office:automatic-styles>{automatic}"
        f"</office:automatic-styles><office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
        "</office:document-content>",
        "styles.xml": f"<office:document-styles {_NAMES}>{styles}</office:document-styles>",
        **(parts or {}),
    }
    return samples.package(path, members)


def table(rows: str, name: str = "S1", attributes: str = "") -> str:
    return f'<table:table table:name="{name}" {attributes}>{rows}</table:table>'


def row(*cells: str, attributes: str = "") -> str:
    return f"<table:table-row {attributes}>{''.join(cells)}</table:table-row>"


def text(*lines: str, attributes: str = "") -> str:
    shown = "".join(f"<text:p>{line}</text:p>" for line in lines)
    return f'<table:table-cell office:value-type="string" {attributes}>{shown}</table:table-cell>'


def value(kind: str, written: str, shown: str = "", attributes: str = "") -> str:
    name = {"date": "date-value", "time": "time-value", "boolean": "boolean-value"}.get(kind, "value")
    paragraph = f"<text:p>{shown}</text:p>" if shown else ""
    return (
        f'<table:table-cell office:value-type="{kind}" office:{name}="{written}" {attributes}>{paragraph}'
        "</table:table-cell>"
    )


def body(path: Path) -> str:
    return samples.split(samples.convert(path))[1]


def test_cells_are_the_text_that_is_shown(path: Path):
    cells = (
        value("float", "1234.5", "1.234,50 €"),
        value("percentage", "0.255", "25,5 %"),
        value("time", "PT30H15M00S", "30:15"),
        text("one", "two | *"),
        text('a<text:s text:c="2"/>b<text:line-break/>c'),
        text('<text:a xlink:href="https://example.org/d">Depot</text:a>'),
        value("boolean", "true", "WAHR"),
    )
    write(path, table(row(*cells)))
    assert body(path).splitlines()[2] == (
        "| 1.234,50 € | 25,5 % | 30:15 | one<br>two \\| \\* | a  b<br>c | [Depot](https://example.org/d) | WAHR |"
    )


def test_values_without_text_are_shown_all_the_same(path: Path):
    cells = (
        value("float", "12.50"),
        value("percentage", "0.255"),
        value("currency", "99", attributes='office:currency="EUR"'),
        value("time", "PT06H05M00S"),
        value("boolean", "false"),
        value("date", "2024-03-09"),
    )
    write(path, table(row(*cells)))
    assert body(path).splitlines()[2] == "| 12.5 | 25.5% | 99 EUR | 06:05:00 | FALSE | 2024-03-09 |"


def test_dates_are_iso_with_the_parts_that_their_style_shows(path: Path):
    automatic = (
        '<number:date-style style:name="N1"><number:month number:textual="true"/><number:text> </number:text>'
        '<number:year/></number:date-style><number:date-style style:name="N2"><number:text>Stand: </number:text>'
        "<number:day/><number:text>.</number:text><number:month/><number:text>.</number:text><number:year/>"
        '</number:date-style><style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/>'
        '<style:style style:name="ce2" style:family="table-cell" style:parent-style-name="common"/>'
    )
    common = (
        "<office:styles><number:date-style style:name='N9'><number:day/><number:month/><number:year/><number:hours/>"
        "<number:minutes/></number:date-style><style:style style:name='common' style:family='table-cell' "
        "style:data-style-name='N9'/></office:styles>"
    )
    moment = "2024-03-09T17:45:30"
    cells = (
        value("date", moment, "March 2024", 'table:style-name="ce1"'),
        value("date", moment, "09.03.2024 17:45", 'table:style-name="ce2"'),
        value("date", moment, "09.03.2024", 'table:style-name="unknown"'),
        value("date", "1848-09-12", "12.09.1848", 'table:style-name="ce2"'),
        value("date", moment, "March 2024"),
        value("date", "soon", "bald"),
    )
    columns = '<table:table-column table:number-columns-repeated="4"/><table:table-column '
    columns += 'table:default-cell-style-name="ce1"/>'
    write(path, table(columns + row(*cells)), automatic, common)
    assert body(path).splitlines()[2] == (
        "| 2024-03 | 2024-03-09 17:45 | 2024-03-09 17:45 | 1848-09-12 | 2024-03 | bald |"
    )


def test_the_empty_rest_of_a_sheet_takes_no_room(path: Path):
    rest = '<table:table-cell table:style-name="ce1" table:number-columns-repeated="16380"/>'
    rows = (
        row(text("Part"), text("same", attributes='table:number-columns-repeated="2"'), rest)
        + row(text("Rope"), value("float", "1", "1"), rest, attributes='table:number-rows-repeated="2"')
        + row(
            '<table:table-cell table:number-columns-repeated="16384"/>', attributes='table:number-rows-repeated="9999"'
        )
    )
    write(path, table(rows + row(rest, attributes='table:number-rows-repeated="1038573"')))
    assert body(path) == "## S1\n\n| Part | same | same |\n| --- | --- | --- |\n| Rope | 1 |  |\n| Rope | 1 |  |"


def test_merged_cells_cover_others(path: Path):
    covered = "<table:covered-table-cell><text:p>below</text:p></table:covered-table-cell>"
    rows = (
        row(text("Region"), text("Town"))
        + row(text("North", attributes='table:number-rows-spanned="2" table:number-columns-spanned="1"'), text("Ebnat"))
        + row(covered, text("Wilden"))
    )
    write(path, table(rows))
    assert body(path).endswith("| North | Ebnat |\n| North | Wilden |")


def test_comments_charts_and_text_boxes(path: Path):
    note = "<office:annotation><dc:creator>Ilse Marn</dc:creator><text:p>per metre</text:p></office:annotation>"
    box = "<draw:frame><draw:text-box><text:p>Draft only</text:p></draw:text-box></draw:frame>"
    frame = '<draw:frame><draw:object xlink:href="./Object 1"><text:p/></draw:object></draw:frame>'
    values = table(row(text("Year"), text("Riders")) + row(text("2024"), value("float", "7", "7")))
    chart = (
        f"<office:document-content {_NAMES}><office:body><office:chart><chart:chart><chart:title><text:p>"
        f"Riders</text:p></chart:title>{values}"
        "</chart:chart></office:chart></office:body></office:document-content>"
    )
    shapes = f"<table:shapes>{frame}</table:shapes>"
    cell = f'<table:table-cell office:value-type="string">{note}{box}<text:p>Rope</text:p></table:table-cell>'
    write(path, table(shapes + row(cell, value("float", "4.5", "4.5"))), parts={"Object 1/content.xml": chart})
    assert body(path) == (
        "## S1\n\n| Rope[^c1] | 4.5 |\n| --- | --- |\n\n**Riders**\n\n| Year | Riders |\n| --- | --- |\n| 2024 | 7 |\n"
        "\nDraft only\n\n[^c1]: Comment by Ilse Marn: per metre"
    )


def test_what_is_hidden_is_shown_and_counted(path: Path):
    properties = '<style:table-properties table:display="false"/>'
    automatic = f'<style:style style:name="ta2" style:family="table">{properties}</style:style>'
    columns = '<table:table-column/><table:table-column table:visibility="collapse" table:number-columns-repeated="9"/>'
    rows = row(text("a"), text("b"), text("c")) + row(text("d"), text("e"), attributes='table:visibility="filter"')
    second = table(row(text("f")), "S2", 'table:style-name="ta2"')
    write(path, table(columns + rows) + second, automatic)
    assert body(path).endswith("| d | e |  |\n\n## S2 (hidden)\n\nf")
    assert samples.convert(path).warnings == ("1 hidden sheet", "1 hidden row", "2 hidden columns")


def test_formulas_without_results_are_counted(path: Path):
    formula = '<table:table-cell table:formula="of:=[.A1]*2" table:style-name="x"/>'
    write(path, table(row(text("Sum"), formula)))
    assert samples.convert(path).warnings == ("1 formula without a stored value",)


def test_heads_and_feet_of_printed_pages_follow_the_sheets(path: Path):
    pages = (
        "<office:master-styles><style:master-page style:name='Default'><style:header><text:p><text:sheet-name>???"
        "</text:sheet-name></text:p></style:header><style:footer><style:region-left><text:p>Orvane &amp; Sons</text:p>"
        "</style:region-left><style:region-right><text:p>Page <text:page-number>1</text:page-number></text:p>"
        "</style:region-right></style:footer></style:master-page></office:master-styles>"
    )
    write(path, table(row(text("a"), text("b"))), styles=pages)
    assert body(path).endswith("| --- | --- |\n\nOrvane & Sons")


def test_damaged_locked_and_empty_spreadsheets_have_their_errors(path: Path):
    write(path, "<table:table>")
    with pytest.raises(UnreadableDocument, match=r"s\.ods"):
        samples.convert(path)
    write(path, table(""))
    with pytest.raises(NoText):
        samples.convert(path)
    manifest = "<m:manifest xmlns:m='urn:m'><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>"
    write(path, table(row(text("a"))), parts={"META-INF/manifest.xml": manifest})
    with pytest.raises(EncryptedDocument):
        samples.convert(path)


def test_repeated_texts_count_against_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet_module, "MAX_CELLS", 100)
    write(path, table(row(text("a"), attributes='table:number-rows-repeated="1048576"')))
    with pytest.raises(TooLarge):
        samples.convert(path)
