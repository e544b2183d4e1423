"""Formulas of Office documents become LaTeX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tasks.conversion.formulas.office_math import MATH, read_formula

_etree: Any = import_module("lxml.etree")


def formula(content: str) -> Any:
    return _etree.fromstring(f'<m:oMath xmlns:m="{MATH[1:-1]}">{content}</m:oMath>')


def run(text: str, properties: str = "") -> str:
    return f"<m:r><m:rPr>{properties}</m:rPr><m:t>{text}</m:t></m:r>" if properties else f"<m:r><m:t>{text}</m:t></m:r>"


def base(content: str) -> str:
    return f"<m:e>{content}</m:e>"


A, B, N = run("a"), run("b"), run("n")


@pytest.mark.parametrize(
    ("content", "latex"),
    [
        (f"<m:f><m:num>{run('a+b')}</m:num><m:den>{run('2')}</m:den></m:f>", r"\frac{a+b}{2}"),
        (f'<m:f><m:fPr><m:type m:val="lin"/></m:fPr><m:num>{A}</m:num><m:den>{run("b+1")}</m:den></m:f>', "a/(b+1)"),
        (f"<m:sSup>{base(A)}<m:sup>{run('2')}</m:sup></m:sSup>", "a^{2}"),
        (f"<m:sSup>{base(A)}<m:sup>{run('′')}</m:sup></m:sSup>", "a'"),
        (f"<m:sSubSup>{base(run('xy'))}<m:sub>{N}</m:sub><m:sup>{B}</m:sup></m:sSubSup>", "{xy}_{n}^{b}"),
        (f"<m:sPre><m:sub>{run('2')}</m:sub><m:sup>{run('4')}</m:sup>{base(run('H'))}</m:sPre>", "{}_{2}^{4}H"),
        (f"<m:rad><m:deg>{run('3')}</m:deg>{base(A)}</m:rad>", r"\sqrt[3]{a}"),
        (f'<m:rad><m:radPr><m:degHide m:val="1"/></m:radPr><m:deg/>{base(A)}</m:rad>', r"\sqrt{a}"),
        (f"<m:d>{base(A)}{base(B)}</m:d>", r"\left(a\vert b\right)"),
        (
            '<m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val=")"/><m:sepChr m:val=","/></m:dPr>'
            f"{base(A)}{base(B)}</m:d>",
            r"\left[a,b\right)",
        ),
        (f'<m:d><m:dPr><m:begChr m:val="|"/><m:endChr m:val="|"/></m:dPr>{base(A)}</m:d>', r"\left\vert a\right\vert"),
        (
            f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{run("i=1")}</m:sub><m:sup>{N}</m:sup>{base(A)}'
            "</m:nary>",
            r"\sum_{i=1}^{n}a",
        ),
        (f"<m:nary><m:sub>{run('0')}</m:sub><m:sup>{run('∞')}</m:sup>{base(A)}</m:nary>", r"\int_{0}^{\infty}a"),
        (f"<m:func><m:fName>{run('sin')}</m:fName>{base(run('α'))}</m:func>", r"\sin{\alpha}"),
        (f"<m:func><m:fName>{run('rank')}</m:fName>{base(A)}</m:func>", r"\operatorname{rank}a"),
        (f"<m:limLow>{base(run('lim'))}<m:lim>{run('n→∞')}</m:lim></m:limLow>", r"\lim_{n\to\infty}"),
        (f'<m:acc><m:accPr><m:chr m:val="⃗"/></m:accPr>{base(run("v"))}</m:acc>', r"\vec{v}"),
        (f"<m:acc>{base(run('xy'))}</m:acc>", r"\widehat{xy}"),
        (f'<m:bar><m:barPr><m:pos m:val="top"/></m:barPr>{base(A)}</m:bar>', r"\overline{a}"),
        (
            f"<m:m><m:mr>{base(A)}{base(B)}</m:mr><m:mr>{base(B)}{base(A)}</m:mr></m:m>",
            r"\begin{matrix}a & b \\ b & a\end{matrix}",
        ),
        (f"<m:eqArr>{base(run('a&amp;=b'))}{base(B)}</m:eqArr>", r"\begin{array}{l}a=b \\ b\end{array}"),
        (run("if a", "<m:nor/>") + A, r"\text{if a}a"),
        (run("𝑎≤𝛽c"), r"a\leq\beta c"),
        (run("R", '<m:scr m:val="double-struck"/>'), r"\mathbb{R}"),
        (run("5 % of {x}"), r"5 \% of \{x\}"),
        ("<m:unheard>" + A + "</m:unheard>", "a"),
    ],
)
def test_latex(content: str, latex: str) -> None:
    assert read_formula(formula(content)).latex == latex


def test_an_accent_that_latex_lacks_is_a_doubt() -> None:
    read = read_formula(formula(f'<m:acc><m:accPr><m:chr m:val="☃"/></m:accPr>{base(A)}</m:acc>'))
    assert (read.latex, read.doubtful) == ("a", True)


def test_a_bar_never_ends_a_cell() -> None:
    assert "|" not in read_formula(formula(run("|a|") + run("if | then", "<m:nor/>"))).latex


def test_a_hostile_depth_is_bounded() -> None:
    assert read_formula(formula("<m:e>" * 200 + A + "</m:e>" * 200)).doubtful
