"""Numbers of lists are written as Word writes them."""

from __future__ import annotations

import pytest

from tasks.conversion.office.list_labels import is_known, label_of, ordinal


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("decimalZero", {1: "01", 10: "10"}),
        ("upperRoman", {4: "IV", 1999: "MCMXCIX"}),
        ("lowerLetter", {26: "z", 27: "aa", 54: "bbb"}),
        ("cardinalText", {7: "Seven", 21: "Twenty-one", 110: "One hundred ten"}),
        ("ordinalText", {1: "First", 12: "Twelfth", 20: "Twentieth", 23: "Twenty-third", 100: "One hundredth"}),
        ("chicago", {1: "*", 4: "§", 5: "**"}),
        ("decimalEnclosedCircle", {1: "①", 20: "⑳", 21: "21"}),
        ("chineseCountingThousand", {10: "十", 11: "十一", 21: "二十一", 101: "一百零一", 110: "一百一十"}),
        ("japaneseCounting", {10: "十", 101: "百一", 2024: "二千二十四"}),
        ("ideographTraditional", {1: "甲", 10: "癸", 11: "甲"}),
        ("ideographZodiacTraditional", {1: "甲子", 60: "癸亥"}),
        ("ideographLegalTraditional", {3: "參", 20: "貳拾"}),
        ("koreanCounting", {11: "십일", 25: "이십오"}),
        ("hebrew1", {1: "א", 15: "טו", 16: "טז", 117: "קיז"}),
        ("russianLower", {1: "а", 3: "в"}),
        ("thaiNumbers", {10: "๑๐"}),
        ("hindiNumbers", {27: "२७"}),
        ("numberInDash", {3: "- 3 -"}),
        ("none", {3: ""}),
        ("unheardOf", {3: "3"}),
    ],
)
def test_labels(kind: str, labels: dict[int, str]) -> None:
    assert {number: label_of(number, kind) for number in labels} == labels


def test_ordinals_are_those_of_the_language() -> None:
    assert [ordinal(number, "en-GB") for number in (1, 2, 3, 4, 11, 12, 13, 21, 111)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th")
    ]
    assert [ordinal(1, "fr-CH"), ordinal(2, "fr-CH"), ordinal(3, "de-DE"), ordinal(3, "es")] == [
        "1er",
        "2e",
        "3.",
        "3º",
    ]


def test_words_are_known_in_english_alone() -> None:
    assert is_known("cardinalText", "en-US") and not is_known("cardinalText", "de-DE") and not is_known("unheardOf")


def test_a_number_of_a_damaged_document_makes_no_endless_label() -> None:
    assert label_of(999_999_999, "lowerLetter") == label_of(999_999_999, "chicago") == "999999999"
