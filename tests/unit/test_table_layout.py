"""Where a text table begins and ends, and what its columns are called."""

from __future__ import annotations

import csv

import pytest

from tasks.conversion.table.cells import can_be_header, is_value, units
from tasks.conversion.table.layout import Row, first_layout, next_layout


def rows_of(text: str, delimiter: str = ",") -> list[Row]:
    rows: list[Row] = []
    after_blank = False
    for line in text.splitlines():
        cells = next(csv.reader([line], delimiter=delimiter), [])
        if any(cell.strip() for cell in cells):
            rows.append(Row(cells, after_blank, line))
        after_blank = not any(cell.strip() for cell in cells)
    return rows


@pytest.mark.parametrize(
    "cell",
    [
        *("12", "-1.234,50", "+3 %", "1'250.50", "€ 5", "1,250.50 €", "CHF 12.-", "(250)", ".5", "2.1e-3", "1 234,5"),
        *("2024-03-09", "09.03.2024", "3/9/24", "2024-03-09 12:00", "9 Mar 2024", "12:30", "1:02:03.5"),
        *("ada@example.org", "https://example.org/a", "DE00 0000 0000 0000"),
    ],
)
def test_values(cell: str) -> None:
    assert is_value(cell)


@pytest.mark.parametrize(
    "cell", ["Station", "Level 2", "PM2.5", "Q1", "2023 Passengers", "wear (mm)", "", "1st quarter"]
)
def test_names_are_no_values(cell: str) -> None:
    assert not is_value(cell)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["", "2022", "2023"], True),
        (["Station", "1", "2", "3"], True),
        (["", "0", "1"], True),
        (["Station", "12"], False),
        (["2022", "2023"], False),
        (["Station", "x" * 200], False),
    ],
)
def test_what_can_be_a_header(cells: list[str], expected: bool) -> None:
    assert can_be_header(cells) is expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["s", "mm", "[m/s]", ""], ["(s)", "(mm)", "[m/s]", ""]),
        (["", "-", ""], None),
        (["Lower", "mm"], None),
        (["(1)", "mm"], None),
    ],
)
def test_units(cells: list[str], expected: list[str] | None) -> None:
    assert units(cells) == expected


@pytest.mark.parametrize(
    ("text", "above", "names"),
    [
        ("a,b\n1\n1,2,3,4\n\n,\n5,6", 0, ("a", "b")),
        ("Name,Town\nAda,Aurach\nBo,Kirnberg", 0, ("Name", "Town")),
        ("Seats of the cars\n31,52\n34,48", 1, None),
        ("31,52\n34,48", 0, None),
        ("Station\nLower\nUpper", 0, ("Station",)),
        ("# comment\n#,Name,Wear\n1,Lower,2.1\n2,Upper,1.9", 1, ("#", "Name", "Wear")),
        ("name,wear,wear,\nLower,1,2,3\nUpper,4,5,6", 0, ("name", "wear", "wear", "")),
        ("Instrument,X-100\nSerial,00123\nDate,2024-03-09\n\nTime,Wear\n0,2.1\n1,2.2", 3, ("Time", "Wear")),
        ("Holder,Ada\n\nDay,Payee,Amount\n2024-01-02,Club,3", 1, ("Day", "Payee", "Amount")),
        (",2023,2023,2024\nStation,Pass,Rev,Pass\nLower,1,2,3", 0, ("Station", "2023 Pass", "2023 Rev", "2024 Pass")),
    ],
)
def test_the_header_is_found(text: str, above: int, names: tuple[str, ...] | None) -> None:
    layout = first_layout(rows_of(text))
    assert (layout.above, layout.names) == (above, names)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("City,Population,Area\nAurach,1200,3.5\nKirnberg,800,2.5", True),
        ("Bridges\nName,Built\nNorth,1902", True),
        ("Cy,Aurach\nDee,Kirnberg", False),  # a group of rows behind an empty line
        ("Total,12\n", False),
        ("Bo,38\nCy,39", False),  # as wide as the table above
    ],
)
def test_a_further_table_needs_evidence(text: str, begins: bool) -> None:
    assert (next_layout(rows_of(text), columns=2) is not None) is begins
