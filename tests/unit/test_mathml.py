"""MathML becomes LaTeX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tasks.conversion.formulas.mathml import to_latex

_etree: Any = import_module("lxml.etree")


@pytest.mark.parametrize(
    ("opening", "closing", "latex"),
    [
        ("(", ")", "(x,2)y"),
        ("⌈", "⌉", "\\lceil x,2\\rceil y"),
        ("|", "|", "\\vert x,2\\vert y"),  # a bar would end the cell of a table
        ("{", "", "\\left\\{x,2\\right.y"),
    ],
)
def test_brackets_are_those_of_latex(opening: str, closing: str, latex: str) -> None:
    fenced = f'<mfenced open="{opening}" close="{closing}"><mi>x</mi><mn>2</mn></mfenced>'
    assert to_latex(_etree.fromstring(f"<math>{fenced}<mi>y</mi></math>")) == latex


def test_a_command_and_a_letter_after_it_stay_apart() -> None:
    assert to_latex(_etree.fromstring("<math><mi>α</mi><mi>x</mi><mo>≤</mo><mn>2</mn></math>")) == "\\alpha x \\leq 2"
