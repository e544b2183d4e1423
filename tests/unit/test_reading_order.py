"""What is read first on a slide."""

from __future__ import annotations

from tasks.conversion.office.reading_order import Box, reading_order


def boxes(*places: tuple[int, int]) -> list[Box]:
    """Boxes of 4 by 2 units at (left, top); a unit is a tenth of an inch."""
    return [Box(left * 91_440, top * 91_440, 4 * 91_440, 2 * 91_440) for left, top in places]


def test_from_the_top_although_made_from_the_bottom():
    assert reading_order(boxes((1, 9), (6, 1), (1, 1))) == [2, 1, 0]


def test_columns_that_were_made_one_after_the_other():
    assert reading_order(boxes((0, 0), (0, 3), (0, 6), (9, 0), (9, 3), (9, 6))) == [0, 1, 2, 3, 4, 5]


def test_rows_that_were_made_one_after_the_other():
    assert reading_order(boxes((0, 0), (9, 0), (0, 3), (9, 3))) == [0, 1, 2, 3]


def test_a_line_over_two_columns_comes_first():
    wide = Box(0, 0, 13 * 91_440, 91_440)
    assert reading_order([*boxes((0, 3), (0, 6), (9, 3), (9, 6)), wide]) == [4, 0, 1, 2, 3]
    below = Box(0, 9 * 91_440, 13 * 91_440, 91_440)
    assert reading_order([*boxes((0, 3), (0, 6), (9, 3), (9, 6)), below, wide]) == [5, 0, 1, 2, 3, 4]


def test_boxes_on_top_of_each_other_keep_their_order_from_the_top():
    assert reading_order(boxes((1, 1), (0, 0))) == [1, 0]
    assert reading_order([]) == []
