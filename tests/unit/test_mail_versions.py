"""Versions of one mail's text: which one is read, and what the others add."""

from __future__ import annotations

import pytest

from tasks.conversion.mail.flowed_text import unflowed
from tasks.conversion.mail.versions import Version, joined, wording_of, wording_of_page

PAGE = """<html><head><style>p { margin: 0 99px }</style></head><body><p>Dear members,</p>
<p>the fare of the ferry rises to <b>24</b> euros on 3 June.</p><table><tr><td>Car</td><td>31</td></tr></table>
<ol><li>Use the gr<i>ee</i>n card.</li></ol><img alt="Map of the line"><footer>Club, Brenaz</footer></body></html>"""


@pytest.mark.parametrize(
    ("line", "is_own"),
    [
        ("the fare of the ferry rises to 24", False),
        ("euros on 3 June.", False),
        ("1. Use the green card.", False),
        ("> Dear members,", False),
        ("Car 31", False),
        ("[image: Map of the line]", False),
        ("Club, Brenaz", False),  # left out of the page by its author's frame, and known all the same
        ("See https://example.org/a", True),
        ("https://example.org/a", False),
        ("------", False),
        ("Use the ferry.", True),  # each word is in the page, but not this sentence
        ("the fare of the ferry rises not to 24 euros on 3 June", True),  # one word more
        ("The fare is 25 euros", True),
        ("the fare of the ferry rises to 25 euros on 3 June.", True),  # another number
        ("margin", True),  # of a style sheet
    ],
)
def test_a_line_is_known_by_its_words_in_order(line: str, is_own: bool) -> None:
    assert wording_of_page(PAGE).lacks(line) is is_own


def test_a_text_of_many_words_is_compared_by_words() -> None:
    long = wording_of("word " * 200_001)
    assert not long.phrases
    assert long.lacks("Something else entirely")
    assert not long.lacks("word word word word")


def versions(*texts: str) -> list[Version]:
    return [Version(markdown=text, wording=wording_of(text)) for text in texts]


def test_the_last_version_is_read_and_the_others_add_lines() -> None:
    plain = "Dear all,\nthe plan is ready.\n\n- one\n- only here\n\n```text\nA   1 234\n```"
    assert joined(versions(plain, "Dear all,\n\nthe plan is ready.\n\n* one")) == (
        1,
        "- only here\n\n```text\nA   1 234\n```",
    )


def test_a_longer_version_that_says_something_else_is_read() -> None:
    letter = "The third bridge is closed until the ninth of June. Use the ferry instead."
    assert joined(versions(letter, "Your program cannot show this.")) == (0, "Your program cannot show this.")
    assert joined(versions("One", "Two", letter)) == (2, "One\n\nTwo")


@pytest.mark.parametrize(
    ("text", "deletes_space", "expected"),
    [
        ("a \nb\nc", False, "a b\nc"),
        ("a \nb", True, "ab"),
        ("> a \n> b\n>> c \n>> d\ne", False, "> a b\n> > c d\ne"),
        ("> a \nb", False, "> a\nb"),  # the depth changes in mid-paragraph
        (" > not quoted\n From here", False, "> not quoted\nFrom here"),
        ("a \n-- \nAda", False, "a\n-- \nAda"),
        ("> a \n> -- \n> Ada", False, "> a\n> -- \n> Ada"),
        ("a  \nb", True, "a b"),
        ("a \n\nb \n", False, "a\n\nb\n"),
        ("", False, ""),
    ],
)
def test_flowed_text(text: str, deletes_space: bool, expected: str) -> None:
    assert unflowed(text, deletes_space=deletes_space) == expected
