"""Warnings about what a conversion could not carry over, and their sum over many documents."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.losses import loss, losses, summary


def test_a_loss_counts_in_words():
    assert loss("comment", 2) == ("2 comments left out",)
    assert loss("chart", 1) == ("1 chart without values",)
    assert loss("chart", 0) == ()


def test_losses_have_a_fixed_order():
    assert losses(Counter({"chart": 1, "comment": 2, "image": 0})) == ("2 comments left out", "1 chart without values")


def test_a_kind_without_words_is_refused():
    with pytest.raises(KeyError):
        loss("mood", 1)


def test_a_summary_adds_up_singular_and_plural():
    warnings = ["1 comment left out", "1 chart without values", "3 comments left out"]
    assert summary(warnings) == "5 warnings: 4 comments left out, 1 chart without values"


def test_a_summary_counts_other_warnings_by_their_text():
    assert summary(["the file ends early", "the file ends early"]) == "2 warnings: the file ends early (2 times)"
    assert summary(["the file ends early"]) == "1 warning: the file ends early"
    assert summary([]) == ""


def test_a_summary_lists_ten_kinds_and_counts_the_rest():
    found = summary([*(f"page {number:02} is upside down" for number in range(12)), "2 comments left out"])
    assert found.startswith("14 warnings: 2 comments left out, page 00 is upside down, ")
    assert found.endswith("page 08 is upside down, and 3 more")


def test_a_long_or_broken_warning_is_one_short_part_of_the_summary():
    assert summary(["a\nb"]) == "1 warning: a b"
    assert summary(["x" * 500]) == f"1 warning: {'x' * 199}…"


def test_an_absurd_number_counts_as_one_text():
    assert summary([f"{'9' * 5000} comments left out"]).startswith("1 warning: 999")
    assert summary(["0 comments left out"]) == "1 warning: 0 comments left out"
