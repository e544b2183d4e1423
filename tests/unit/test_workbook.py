"""What the sheets of Excel's packages show, as tables and the text around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import EncryptedDocument, NoText, TooLarge, UnreadableDocument
from tasks.conversion.workbook import sheet as sheet_module
from tests.corpus.raw_formats import compound_file
from tests.unit import conversion_samples as samples
from tests.unit.workbook_samples import OFFICE, body, formats, relations, rows, write

LIST = rows(["Part", "Price"], ["Rope", 4.5], ["Oil", 6.25])


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "b.xlsx"


def test_cells_of_every_kind(book: Path):
    strings = (
        "<si><t>plain</t></si><si><r><t>10</t></r><r><rPr><vertAlign val='superscript'/></rPr><t>3</t></r>"
        "<r><t xml:space='preserve'> N</t></r></si>"
        "<si><t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh><phoneticPr fontId='1'/></si>"
        "<si><t>one_x000D_\ntwo | * _x005F_x0041_</t></si>"
    )
    cells = (
        '<c t="s"><v>0</v></c><c t="s"><v>1</v></c><c t="s"><v>2</v></c><c t="s"><v>3</v></c><c t="b"><v>1</v></c>'
        '<c t="e"><v>#DIV/0!</v></c><c t="str"><f>A1&amp;"x"</f><v>plainx</v></c>'
        '<c t="inlineStr"><is><r><rPr><strike/></rPr><t>old</t></r><r><t> new</t></r></is></c>'
        '<c t="d" s="1"><v>2024-03-09T12:00:00</v></c><c><v>4006381333931</v></c><c><v>0.30000000000000004</v></c>'
    )
    write(book, f"<sheetData><row>{cells}</row></sheetData>", strings=strings, styles=formats("dd.mm.yyyy"))
    assert body(book).splitlines()[2] == (
        "| plain | 10^3^ N | 東京 | one<br>two \\| \\* \\_x0041\\_ | TRUE | #DIV/0! | plainx | ~~old~~ new "
        "| 2024-03-09 | 4006381333931 | 0.3 |"
    )


def test_a_strict_package_and_cells_without_a_place(book: Path):
    strict = "http://purl.oclc.org/ooxml/spreadsheetml/main"
    sheet = '<sheetData><row><c t="str"><v>a</v></c><c><v>1</v></c></row><row><c r="B2"><v>2</v></c></row></sheetData>'
    write(book, sheet, namespace=strict)
    assert body(book) == "## S1\n\n| a | 1 |\n| --- | --- |\n|  | 2 |"


def test_formulas_without_results_are_counted(book: Path):
    cells = '<c t="str"><v>Sum</v></c><c><f>A1</f></c><c><f>A1</f><v></v></c><c t="str"><f>""</f><v></v></c>'
    write(book, f"<sheetData><row>{cells}</row></sheetData>")
    assert samples.convert(book).warnings == ("2 formulas without a stored value",)


def test_noughts_that_a_program_wrote_in_place_of_results_are_none(book: Path):
    cells = (
        '<row><c t="str"><v>Sum</v></c><c t="str"><v>x</v></c></row><row><c><v>5</v></c><c><f>A2</f><v>0</v></c></row>'
    )
    on_load = '<calcPr calcId="1" fullCalcOnLoad="1"/>'
    write(book, f"<sheetData>{cells}</sheetData>", workbook=on_load)
    assert body(book).endswith("| 5 |  |")
    assert samples.convert(book).warnings == ("1 formula without a stored value",)
    write(book, f"<sheetData>{cells}</sheetData>")
    assert body(book).endswith("| 5 | 0 |")
    computed = "<row><c><f>A2</f><v>5</v></c></row>"
    write(book, f"<sheetData>{cells}{computed}</sheetData>", workbook=on_load)
    assert "| 5 | 0 |" in body(book)
    assert samples.convert(book).warnings == ("1 formula whose value 0 may not be computed",)


def test_a_title_above_a_table_and_remarks_below_it_are_text(book: Path):
    lines = (["Price list 2024"], [], ["Part", "Price"], ["Rope", 4.5], ["Oil", 6.25], [], ["Prices with VAT."])
    write(book, rows(*lines, ["IBAN: DE02 1203 0000 0000 2020 51"]))
    assert body(book) == (
        "## S1\n\nPrice list 2024\n\n| Part | Price |\n| --- | --- |\n| Rope | 4.5 |\n| Oil | 6.25 |\n\n"
        "Prices with VAT.\n\nIBAN: DE02 1203 0000 0000 2020 51"
    )


def test_a_title_with_its_date_is_text_as_well(book: Path):
    table = (["Part", "Unit", "Price"], ["Rope", "m", 4.5], ["Oil", "l", 6.25])
    shown = "| Part | Unit | Price |\n| --- | --- | --- |\n| Rope | m | 4.5 |\n| Oil | l | 6.25 |"
    write(book, rows(["Prices from", None, "2024-04-01"], *table))
    assert body(book) == f"## S1\n\nPrices from 2024-04-01\n\n{shown}"
    write(book, rows(["Prices", "2024-04-01"], [], *table))
    assert body(book) == f"## S1\n\nPrices 2024-04-01\n\n{shown}"


def test_empty_rows_and_columns_around_a_table_are_left_out(book: Path):
    write(book, rows([None, None, "Part", None, "Price"], [None, None, "Rope", None, 4.5], first=4))
    assert body(book) == "## S1\n\n| Part |  | Price |\n| --- | --- | --- |\n| Rope |  | 4.5 |"


def test_an_empty_row_does_not_end_a_table(book: Path):
    write(book, rows(["Part", "Price"], ["Rope", 4.5], [], ["Oil", 6.25]))
    assert body(book) == "## S1\n\n| Part | Price |\n| --- | --- |\n| Rope | 4.5 |\n| Oil | 6.25 |"


def test_a_row_of_other_labels_behind_an_empty_row_begins_a_table(book: Path):
    second = (["Staff"], ["Name", "Hours", "Rate"], ["Ilse", 12, 30])
    write(book, rows(["Part", "Price"], ["Rope", 4.5], [], *second))
    assert body(book) == (
        "## S1\n\n| Part | Price |\n| --- | --- |\n| Rope | 4.5 |\n\nStaff\n\n"
        "| Name | Hours | Rate |\n| --- | --- | --- |\n| Ilse | 12 | 30 |"
    )
    write(book, rows(["Part", "Price"], ["Rope", 4.5], [], ["Name", "Hours"], ["Ilse", 12]))
    assert "\n\n| Name | Hours |\n| --- | --- |\n| Ilse | 12 |" in body(book)


def test_names_with_values_have_no_header(book: Path):
    write(book, rows(["Invoice no.", 2024017], ["Customer", "Brenkow Works"], ["Net", 99.5]))
    assert body(book) == (
        "## S1\n\n|  |  |\n| --- | --- |\n| Invoice no. | 2024017 |\n| Customer | Brenkow Works |\n| Net | 99.5 |"
    )


def test_merged_cells_repeat_over_rows_and_in_a_header_over_columns(book: Path):
    lines = (
        ["Region", "2023", None, "2024"],
        [None, "Q1", "Q2", "Q1"],
        ["North", 1, 2, 3],
        [None, 4, 5, 6],
        ["both", None, 7, 8],
    )
    merged = "<mergeCells><mergeCell ref='A1:A2'/><mergeCell ref='B1:C1'/><mergeCell ref='A3:A4'/></mergeCells>"
    write(book, rows(*lines) + merged)
    assert body(book) == (
        "## S1\n\n| Region | 2023 Q1 | 2023 Q2 | 2024 Q1 |\n| --- | --- | --- | --- |\n| North | 1 | 2 | 3 |\n"
        "| North | 4 | 5 | 6 |\n| both |  | 7 | 8 |"
    )


def test_groups_that_are_not_merged_and_units_belong_to_the_names(book: Path):
    write(book, rows([None, "2023", None, "2024"], ["Part", "Plan", "Sold", "Plan"], ["Rope", 1, 2, 3]))
    assert body(book) == (
        "## S1\n\n| Part | 2023 Plan | 2023 Sold | 2024 Plan |\n| --- | --- | --- | --- |\n| Rope | 1 | 2 | 3 |"
    )
    write(book, rows(["Part", "Weight", "Length"], [None, "kg", "m"], ["Rope", 2, 3]))
    assert body(book) == "## S1\n\n| Part | Weight (kg) | Length (m) |\n| --- | --- | --- |\n| Rope | 2 | 3 |"


def test_a_column_of_sentences_is_text(book: Path):
    write(
        book,
        rows(
            ["Read this first."],
            [
                "1. Close the valve",
            ],
            ["Then open the gate."],
        ),
    )
    assert body(book) == "## S1\n\nRead this first.\n\n1\\. Close the valve\n\nThen open the gate."
    write(book, rows(["Car"], ["Rex"], ["Ada"]))
    assert body(book) == "## S1\n\n| Car |\n| --- |\n| Rex |\n| Ada |"


def test_links_have_their_target_where_it_is_not_their_text(book: Path):
    links = (
        '<hyperlinks><hyperlink ref="A2" r:id="r1"/><hyperlink ref="B2" r:id="r2"/><hyperlink ref="A3" '
        'location="S1!A1"/></hyperlinks>'
    )
    formula = '<row r="4"><c r="A4" t="str"><f>HYPERLINK("https://example.org/h","Here")</f><v>Here</v></c></row>'
    cells = rows(["Page", "Mail"], ["Depot", "a@example.org"], ["Top", 1]).replace(
        "</sheetData>", f"{formula}</sheetData>"
    )
    related = relations(("r1", "hyperlink", "https://example.org/d"), ("r2", "hyperlink", "mailto:a@example.org"))
    write(book, cells + links, parts={"xl/worksheets/_rels/s1.xml.rels": related})
    assert "| [Depot](https://example.org/d) | a@example.org |\n| Top | 1 |\n| [Here](https://example.org/h) |" in body(
        book
    )


def test_comments_and_threads_are_notes_with_their_authors(book: Path):
    notes = (
        "<comments xmlns='m'><authors><author>Ilse Marn</author><author>tc={1}</author></authors><commentList>"
        "<comment ref='B2' authorId='0'><text><r><t>Ilse Marn:</t></r><r><t>\nper metre\nor roll</t></r></text>"
        "</comment>"
        "<comment ref='B3' authorId='1'><text><t>[Threaded comment] Your version ...</t></text></comment>"
        "</commentList></comments>"
    )
    thread = (
        "<ThreadedComments xmlns='t'><threadedComment ref='B3' personId='p'><text>Too dear?</text></threadedComment>"
        "<threadedComment ref='B3' personId='q'><text>No.</text></threadedComment></ThreadedComments>"
    )
    people = (
        "<personList xmlns='t'><person id='p' displayName='Ada Holt'/><person id='q' displayName='Rex'/></personList>"
    )
    workbook_relations = relations(("s1", "worksheet", "worksheets/s1.xml"), ("p", "person", "persons/person.xml"))
    parts = {
        "xl/worksheets/_rels/s1.xml.rels": relations(
            ("r1", "comments", "../comments1.xml"), ("r2", "threadedComment", "../threadedComments/t1.xml")
        ),
        "xl/comments1.xml": notes,
        "xl/threadedComments/t1.xml": thread,
        "xl/persons/person.xml": people,
        "xl/_rels/workbook.xml.rels": workbook_relations,
    }
    write(book, LIST, parts=parts)
    text = body(book)
    assert "| Rope | 4.5[^c1] |\n| Oil | 6.25[^c2] |" in text
    assert "[^c1]: Comment by Ilse Marn: per metre\n\n    or roll\n" in text
    assert text.endswith("[^c2]: Comment by Ada Holt: Too dear?\n\n    Comment by Rex: No.")


def test_text_boxes_charts_and_pictures_follow_their_sheet(book: Path):
    xdr = 'xmlns:xdr="x" xmlns:a="a" xmlns:c="c"'
    anchor = "<xdr:twoCellAnchor><xdr:from><xdr:col>1</xdr:col><xdr:row>{}</xdr:row></xdr:from>{}</xdr:twoCellAnchor>"
    box = (
        "<xdr:sp><xdr:nvSpPr><xdr:cNvPr id='2' name='T'/></xdr:nvSpPr><xdr:txBody><a:p><a:r><a:t>Draft only</a:t></a:r>"
        "</a:p></xdr:txBody></xdr:sp>"
    )
    picture = "<xdr:pic><xdr:nvPicPr><xdr:cNvPr id='3' name='P' descr='{}'/></xdr:nvPicPr></xdr:pic>"
    chart = (
        f"<xdr:graphicFrame><a:graphic><a:graphicData><c:chart xmlns:r='{OFFICE}' r:id='r1'/></a:graphicData>"
        "</a:graphic></xdr:graphicFrame>"
    )
    places = ((9, chart), (2, box), (20, picture.format("Plan of the depot")), (30, picture.format("image1.png")))
    drawing = f"<xdr:wsDr {xdr}>{''.join(anchor.format(row, shape) for row, shape in places)}</xdr:wsDr>"
    points = "".join(f"<c:pt idx='{index}'><c:v>{value}</c:v></c:pt>" for index, value in enumerate((0.255, 0.5)))
    chart_part = (
        "<c:chartSpace xmlns:c='c'><c:chart><c:plotArea><c:barChart><c:ser><c:tx><c:v>Share</c:v></c:tx>"
        f"<c:val><c:numRef><c:numCache><c:formatCode>0.0%</c:formatCode>{points}</c:numCache></c:numRef></c:val>"
        "</c:ser></c:barChart></c:plotArea></c:chart></c:chartSpace>"
    )
    parts = {
        "xl/worksheets/_rels/s1.xml.rels": relations(("r1", "drawing", "../drawings/d1.xml")),
        "xl/drawings/d1.xml": drawing,
        "xl/drawings/_rels/d1.xml.rels": relations(("r1", "chart", "../charts/c1.xml")),
        "xl/charts/c1.xml": chart_part,
    }
    write(book, LIST, parts=parts)
    assert body(book).endswith(
        "| Oil | 6.25 |\n\nDraft only\n\n| Share |\n| --- |\n| 25.5% |\n| 50.0% |\n\nPlan of the depot"
    )
    assert samples.convert(book).warnings == ("1 image without description",)


def test_an_embedded_object_is_counted_once(book: Path):
    written = '<oleObject shapeId="1025" progId="Word.Document.12"/>'
    both = f"<m:Choice>{written}</m:Choice><m:Fallback>{written}</m:Fallback>"
    write(book, f"{LIST}<oleObjects><m:AlternateContent xmlns:m='m'>{both}</m:AlternateContent></oleObjects>")
    assert samples.convert(book).warnings == ("1 embedded object left out",)


def test_what_is_hidden_is_shown_and_counted(book: Path):
    hidden_row = rows(["a", "b"], ["c", "d"]).replace('<row r="2">', '<row r="2" hidden="1">')
    hidden_columns = '<cols><col min="2" max="16384" hidden="1"/></cols>'
    write(book, hidden_columns + hidden_row, rows(["e"]), rows(["f"]), states=["visible", "hidden", "veryHidden"])
    text = body(book)
    assert "| c | d |" in text
    assert "## S2 (hidden)\n\ne\n\n## S3 (hidden)\n\nf" in text
    assert samples.convert(book).warnings == ("2 hidden sheets", "1 hidden row", "1 hidden column")


def test_heads_and_feet_of_printed_pages_follow_the_sheets(book: Path):
    heads = (
        "<headerFooter><oddHeader>&amp;L&amp;&quot;Arial,Bold&quot;&amp;12Orvane Depot&amp;RConfidential</oddHeader>"
        "<oddFooter>&amp;CPage &amp;P of &amp;N&amp;R&amp;D</oddFooter></headerFooter>"
    )
    write(book, LIST + heads, LIST + heads)
    assert body(book).endswith("| Oil | 6.25 |\n\nOrvane Depot | Confidential")


@pytest.mark.parametrize("name", ["Sheet", "Tabelle1", "Feuil2", "Hoja1", "Foglio1", "Blad1", "シート1", "工作表1"])
def test_a_default_name_of_a_sheet_is_no_title(tmp_path: Path, name: str):
    header, text = samples.split(samples.convert(samples.xlsx(tmp_path / "depot.xlsx", {name: [["a", "b"]]})))
    assert header["title"] == "depot"
    assert text.startswith(f"## {name}")


@pytest.mark.parametrize("name", ["Sheet metal", "Plan", "List", "Chart of accounts"])
def test_the_name_that_an_author_gave_is_the_title(tmp_path: Path, name: str):
    header, _ = samples.split(samples.convert(samples.xlsx(tmp_path / "depot.xlsx", {name: [["a", "b"]]})))
    assert header["title"] == name


def test_what_a_format_hides_is_left_out_and_counted(book: Path):
    cells = '<row><c t="str"><v>a</v></c><c s="1"><v>7</v></c><c s="1" t="str"><v>key</v></c></row>'
    write(book, f"<sheetData>{cells}</sheetData>", styles=formats(";;;"))
    assert body(book) == "## S1\n\na"
    assert samples.convert(book).warnings == ("2 hidden passages left out",)


def test_far_cells_and_many_merged_ones_stay_small(book: Path):
    far = '<row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    cells = f'<sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>{far}</sheetData>'
    merged = "<mergeCells>" + "<mergeCell ref='A1:XFD1048576'/>" * 1000 + "</mergeCells>"
    write(book, '<dimension ref="A1:XFD1048576"/>' + cells + merged)
    assert len(body(book)) < 200


def test_a_row_of_more_cells_than_columns_is_refused_in_time(book: Path, monkeypatch: pytest.MonkeyPatch):
    from tasks.conversion.workbook import worksheet as worksheet_module

    monkeypatch.setattr(worksheet_module, "MAX_COLUMNS", 50)
    monkeypatch.setattr(worksheet_module, "MAX_CELLS", 200)
    monkeypatch.setattr(sheet_module, "MAX_CELLS", 200)
    cells = "<c r='A1'><v>1</v></c>" * 300
    write(book, f"<sheetData><row>{cells}</row></sheetData>")
    with pytest.raises(TooLarge):
        samples.convert(book)


def test_damaged_cells_are_counted(book: Path):
    cells = (
        '<row><c t="s"><v>99</v></c><c t="str"><v>ok</v></c><c r="ZZZZ1"><v>1</v></c></row>'
        '<row r="9999999"><c><v>2</v></c></row>'
    )
    write(book, f"<sheetData>{cells}</sheetData>")
    assert body(book) == "## S1\n\nok"
    assert samples.convert(book).warnings == ("3 cells that could not be read",)


def test_too_many_cells(book: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet_module, "MAX_CELLS", 10)
    write(book, rows(*[["a", "b"]] * 6))
    with pytest.raises(TooLarge, match=r"b\.xlsx.*more than 5,000,000 cells"):
        samples.convert(book)


def test_damaged_and_locked_workbooks_have_their_errors(book: Path):
    write(book, "<sheetData><row><c>")
    with pytest.raises(UnreadableDocument, match=r"b\.xlsx"):
        samples.convert(book)
    write(book, rows(["a"]), parts={"xl/worksheets/s1.xml": '<!DOCTYPE d [<!ENTITY x "boo">]><d><c>&x;</c></d>'})
    with pytest.raises(UnreadableDocument, match="entities"):
        samples.convert(book)
    write(book, "<sheetData/>")
    with pytest.raises(NoText):
        samples.convert(book)
    book.write_bytes(compound_file({"EncryptionInfo": b"\4\0\4\0", "EncryptedPackage": bytes(5_000)}))
    with pytest.raises(EncryptedDocument):
        samples.convert(book)
