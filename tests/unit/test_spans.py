"""Tables with spanning cells as plain rows."""

from __future__ import annotations

from tasks.conversion.spans import MAX_COLUMNS, MAX_REPEATED_TEXT, Cell, nested, without_spans


def test_a_cell_over_rows_stands_in_each_of_them():
    rows = [[Cell("Station"), Cell("Train")], [Cell("Lower", rows=2), Cell("09:15")], [Cell("10:20")]]
    assert without_spans(rows) == [["Station", "Train"], ["Lower", "09:15"], ["Lower", "10:20"]]


def test_a_cell_over_columns_stands_once_but_names_each_column_of_the_head():
    rows = [[Cell("2024", columns=2), Cell("Sum")], [Cell("closed", columns=2), Cell("0")]]
    assert without_spans(rows) == [["2024", "2024", "Sum"], ["closed", "", "0"]]


def test_a_cell_over_rows_and_columns():
    rows = [[Cell("a"), Cell("b"), Cell("c")], [Cell("x", rows=2, columns=2), Cell("1")], [Cell("2")], [Cell("y")]]
    assert without_spans(rows) == [["a", "b", "c"], ["x", "", "1"], ["x", "", "2"], ["y"]]


def test_a_cell_at_the_end_of_a_row_reaches_into_shorter_ones():
    assert without_spans([[Cell("a"), Cell("b", rows=2)], [Cell("c")]]) == [["a", "b"], ["c", "b"]]
    assert without_spans([[Cell("a"), Cell("b"), Cell("c", rows=2)], [Cell("d")]]) == [["a", "b", "c"], ["d", "", "c"]]


def test_claimed_spans_are_bounded():
    assert len(without_spans([[Cell("a", columns=10**9)]])[0]) == MAX_COLUMNS


def test_a_page_of_text_is_not_repeated():
    long = "x" * (MAX_REPEATED_TEXT + 1)
    assert without_spans([[Cell("a"), Cell("b")], [Cell(long, rows=2), Cell("1")], [Cell("2")]])[1:] == [
        [long, "1"],
        ["", "2"],
    ]
    assert nested([[long, "b"], ["1", "2"]]) == ["1; b: 2"]
