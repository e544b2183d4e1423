"""Numbers of lists in letters and Roman numerals."""

from __future__ import annotations

import pytest

from tasks.conversion.office.numerals import numeral


@pytest.mark.parametrize(
    ("number", "kind", "expected"),
    [
        (4, "decimal", "4"),
        (4, "lowerRoman", "iv"),
        (1994, "upperRoman", "MCMXCIV"),
        (1, "lowerLetter", "a"),
        (26, "upperLetter", "Z"),
        (27, "lowerLetter", "aa"),
        (54, "lowerLetter", "bbb"),
        (0, "lowerRoman", "0"),
        (-3, "upperLetter", "-3"),
        (781, "lowerLetter", "781"),
        (2, "unheardOf", "2"),
    ],
)
def test_numeral(number: int, kind: str, expected: str):
    assert numeral(number, kind) == expected
