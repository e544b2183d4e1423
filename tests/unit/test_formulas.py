"""Formulas are told from amounts of money, and do not go over the end of a paragraph."""

from __future__ import annotations

import time

import pytest

from tasks.text.formulas import FORMULA


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("costs $5 and $6, or US$5 (A$7)", []),
        ("$x_1$ and $\\frac{a}{b}$, $5$", ["$x_1$", "$\\frac{a}{b}$", "$5$"]),
        ("$$\na\n+ b\n$$ and $$c$$", ["$$\na\n+ b\n$$", "$$c$$"]),
        ("$a\n\nb$", []),
        ("\\$x_1\\$ and \\\\(a\\\\)", []),
        ("\\(a_b\\) and \\[c \\\\ d\\]", ["\\(a_b\\)", "\\[c \\\\ d\\]"]),
        ("\\begin{align*}\na &= b \\\\\n\\end{align*}", ["\\begin{align*}\na &= b \\\\\n\\end{align*}"]),
        ("\\begin{align}\n\n\\end{align}", []),
    ],
)
def test_formulas_are_found(text: str, formulas: list[str]):
    assert [found[0] for found in FORMULA.finditer(text)] == formulas


@pytest.mark.parametrize("sign", ["\\( ", "\\[ ", "$x ", "$$ ", "\\begin{a} "])
def test_openings_without_an_end_take_bounded_time(sign: str):
    started = time.thread_time()
    assert FORMULA.search(sign * 20_000) is None or sign.startswith("$")
    assert time.thread_time() - started < 10
