"""A peer that writes the right thing in another notation is right; one that writes another thing is not."""

from __future__ import annotations

import pytest

from benchmarks.fidelity import judge, judge_mildly
from tests.fidelity.case import Case


def case(**fields: object) -> Case:
    return Case(**{"id": "X", "kind": "", "input": "a.txt", "look_in": "optimised", "reason": "", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("| 31 | ready |", "\n| Car   | State   |\n|-------|:-------:|\n|    31 | ready   |\n"),
        (
            "| 31 | ready |\n| 34 | shed |",
            "<table><tr><th>Car<th>Is<tr><td><p>31</p></td><td>ready</td></tr><tr><td>34<td>shed</table>",
        ),
        ("| 31<br>34 | 48 |", "<table><tr><td>31<br/>34</td><td>48</td></tr></table>"),
        ("10^3^ N", "load 10<sup>3</sup> N"),
        ("10<sup>3</sup> N", "load 10<sup>3</sup> N"),
        ("H~2~O", "H<sub>2</sub>O"),
        ("wear < 5 & play", "wear &lt; 5 &amp; play"),
        ("see \\[x](y)", "see \\[x\\]\\(y\\)"),
        ("First\n\nSecond", "First\nSecond"),
        ("**Total: 52 seats**", "__Total: 52 seats__"),
        ("Seite 3", "Seite\u00a03"),
        ("```text\nold style\n```", "Before:\n\n    old style\n\nAfter"),
        ("````python", "```` python"),
    ],
)
def test_another_notation_is_right(wanted: str, written: str):
    assert judge_mildly(case(must_contain=(wanted,)), written).right


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("10^3^ N", "load 103 N"),
        ("+ 3 %", "- 3 %"),
        ("| 31 | ready |", "| 31ready |"),
        ("| 31 | 48 |", "<table><tr><td>48</td><td>31</td></tr></table>"),
        ("wear 5", "wear\\-5"),
    ],
)
def test_another_thing_is_wrong(wanted: str, written: str):
    assert not judge_mildly(case(must_contain=(wanted,)), written).right


@pytest.mark.parametrize(
    "written",
    [
        "812 m long.[^1]\n\n[^1]: Measured along the rail.",
        "812 m long.[[1]](#footnote-1)\n\n1. Measured along the rail. [↑](#footnote-ref-1)",
        "812 m long.<sup>1</sup>\n\n[^1]: Measured along the rail.",
    ],
)
def test_notes_may_be_marked_in_other_ways(written: str):
    assert judge_mildly(case(notes_lead_to=(("812 m long.", "Measured along"),)), written).right
    assert not judge_mildly(case(notes_lead_to=(("812 m long.", "Dug by hand"),)), written).right


def test_what_must_not_be_there_is_wrong_in_every_notation():
    assert not judge_mildly(case(must_not_contain=("hidden row",)), "| hidden row |").right
    assert judge_mildly(case(must_not_contain=("hidden row",)), "| row |").right


def test_this_build_is_judged_by_its_text_as_it_stands():
    assert not judge(case(must_contain=("10^3^ N",)), "10<sup>3</sup> N").right
    assert judge(case(must_contain=("10^3^ N",)), "10^3^ N").right
    assert judge(case(must_contain=("10^3^ N",)), None).read is False
