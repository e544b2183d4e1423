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
