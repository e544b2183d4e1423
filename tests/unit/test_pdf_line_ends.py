"""What a hyphen at a line end means, by what stands around it and by the document's habit."""

from __future__ import annotations

import pytest

from tasks.conversion.line_ends import LineEnd, LineEnds, words_of

_KNOWN = frozenset("information nonstop stop supporting self long term toronto transportation".split())  # noqa: SIM905


def _joint(end: LineEnd, *others: LineEnd, words: str = "") -> str | None:
    return LineEnds([end, *others], words_of(words), _KNOWN).joint(end)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("10", "15", "-"),
        ("24", "hour", "-"),
        ("KX", "1200", "-"),
        ("A", "class", "-"),
        ("x", "ray", "-"),
        ("Orvane", "Dorf", "-"),
        ("self", "supporting", "-"),
        ("long", "term", "-"),
        ("mother-in", "law", "-"),
        ("long", "up", "-"),
        ("au", "dessus", "-"),
        ("pre", "and", "- "),
        ("Haus", "und", "- "),
        ("10", "or", "- "),
        ("infor", "mation", ""),
        ("Toron", "to", ""),
        ("", "12", " -"),
        ("", "then", " - "),
        ("(", "12", "-"),
        ("waybill.example/long", "path", "-"),
    ],
)
def test_a_hyphen_is_kept_suspended_or_taken_out(left: str, right: str, expected: str) -> None:
    assert _joint(LineEnd(left, right)) == expected


def test_what_can_be_read_both_ways_goes_by_the_habit_of_the_document() -> None:
    assert _joint(LineEnd("non", "stop")) == "-"
    assert _joint(LineEnd("non", "stop"), LineEnd("infor", "mation")) == ""
    assert _joint(LineEnd("long", "term"), LineEnd("infor", "mation")) == "-"


def test_the_documents_own_words_come_first() -> None:
    assert _joint(LineEnd("self", "supporting"), words="a selfsupporting roof") == ""
    assert _joint(LineEnd("infor", "mation"), words="the infor-mation desk") == "-"


def test_a_soft_hyphen_only_cuts() -> None:
    assert _joint(LineEnd("10", "15", "\u00ad")) == ""


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (LineEnd("1939", "1945", "–"), "–"),
        (LineEnd("so", "they", "–"), None),
        (LineEnd("km", "h", "/"), "/"),
        (LineEnd("", "12", "−"), " −"),
        (LineEnd("https://waybill.example/a", "b=1", "?"), "?"),
        (LineEnd("over", "Then", "."), None),
        (LineEnd("www.waybill.example", "The", "."), None),
    ],
)
def test_other_signs_are_joined_only_where_that_is_certain(end: LineEnd, expected: str | None) -> None:
    assert _joint(end) == expected


def test_words_that_a_line_end_cuts_are_no_words_of_the_document() -> None:
    assert words_of("a tele-\r\nphone in the self-supporting hall, infor\ufffemation") == {
        "in",
        "the",
        "self-supporting",
        "hall",
    }
