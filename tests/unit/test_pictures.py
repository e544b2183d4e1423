"""Which alternative texts of pictures say something."""

from __future__ import annotations

import pytest

from tasks.conversion.office.pictures import description


@pytest.mark.parametrize("text", [None, "", "Picture 3", "image001.png", "Grafik 12", "chart", "logo"])
def test_names_say_nothing(text: str | None):
    assert description(text) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The summit station\nin 1912", "The summit station in 1912"),
        ("A map of the line\n\nDescription automatically generated with medium confidence", "A map of the line"),
        ("Picture of the summit", "Picture of the summit"),
    ],
)
def test_descriptions_stay(text: str, expected: str):
    assert description(text) == expected
