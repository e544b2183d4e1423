"""Heads and feet of pages that say something."""

from __future__ import annotations

import pytest

from tasks.conversion.office.running_text import belongs_to_a_page_number, says_more_than_a_page_number


@pytest.mark.parametrize(
    "text",
    ["", "3", "Page 3 of 10", "- 3 -", "Seite 3 von 10", "iv", "p. 12", "3 / 10", "第 3 页", "第3页", "Strona 3 z 10"],
)
def test_page_numbers(text: str):
    assert not says_more_than_a_page_number(text)


@pytest.mark.parametrize("text", ["Register 8842-K", "Approved by the board, page 3", "Kirnberg 2024", "No. 4711"])
def test_texts(text: str):
    assert says_more_than_a_page_number(text)


def test_a_number_that_a_program_counts_pages_with_may_have_any_word_for_number():
    assert belongs_to_a_page_number("No. of") and belongs_to_a_page_number("Seite von")
    assert not belongs_to_a_page_number("Register Page")
