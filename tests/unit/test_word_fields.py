"""Fields of Word that store no result show what Word shows."""

from __future__ import annotations

import pytest

from tasks.conversion.word.auto_numbers import AutoNumbers
from tasks.conversion.word.equation_fields import equation
from tasks.conversion.word.fields import Fields


@pytest.mark.parametrize(
    ("instruction", "latex"),
    [
        (r"\f(1,2)", r"\frac{1}{2}"),
        (r"\r(3,x)", r"\sqrt[3]{x}"),
        (r"\r(,x+1)", r"\sqrt{x+1}"),
        (r"m\s\up8(2)", "m^{2}"),
        (r"x\s\do4(i)", "x_{i}"),
        (r"\b\bc\[(\f(a,b))", r"\left[\frac{a}{b}\right]"),
        (r"\b(a;b)", r"\left(a,b\right)"),
        (r"\b\lc\{(x)", r"\left\{x\right."),
        (r"\i\su(i=1,n,\f(1,i))", r"\sum_{i=1}^{n}\frac{1}{i}"),
        (r"\x\to(AB)", r"\overline{AB}"),
        (r"\o(a,b)", "ab"),
        (r"\a\al\co2(1,2)", r"\begin{matrix}1 \\ 2\end{matrix}"),
        (r"f\(x\)", "f(x)"),
        (r"\f(1", "1"),
        ("", ""),
    ],
)
def test_equations(instruction: str, latex: str) -> None:
    assert equation(instruction) == latex


def test_a_hostile_depth_is_bounded() -> None:
    assert equation(r"\f(" * 5_000 + "1")


def test_numbers_of_fields_are_counted() -> None:
    numbers = AutoNumbers()
    shown = [
        numbers.number(instruction.split())
        for instruction in (
            *("LISTNUM", r"LISTNUM \l 2", r"LISTNUM \l 2", "LISTNUM", r"LISTNUM \l 2"),
            *(
                "LISTNUM LegalDefault",
                r"LISTNUM LegalDefault \l 2",
                r"LISTNUM \s 9",
                "AUTONUM",
                r"AUTONUM \s )",
                "DATE",
            ),
        )
    ]
    assert shown == ["1)", "a)", "b)", "2)", "a)", "1.", "1.1.", "9)", "1.", "2)", ""]


@pytest.mark.parametrize(
    ("instruction", "shown"),
    [
        (r"SYMBOL 254 \f Wingdings \s 10", "☑"),
        (r'SYMBOL 0xB3 \f "Symbol"', "≥"),
        ("MACROBUTTON NoMacro Click here", "Click here"),
        ("PAGEREF x", ""),
    ],
)
def test_what_stands_for_a_result(instruction: str, shown: str) -> None:
    fields = Fields()
    fields.begin(code=instruction)
    assert fields.end().text == shown


def test_a_field_in_the_instruction_of_another_is_not_shown() -> None:
    fields = Fields()
    fields.begin(code="IF ")
    fields.begin(code="MERGEFIELD a")
    fields.separate()
    assert not fields.shown
    fields.end()
    fields.separate()
    assert fields.shown
