"""What a document says is what the stages make of it: each case is an input with its right value."""

from __future__ import annotations

from dataclasses import replace

import openpyxl
import pytest

from tasks.losses import counted
from tests.fidelity.case import INPUTS, Case, all_cases, view

CASES = list(all_cases())


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_case(case: Case):
    wrong = case.faults(view(case))
    assert not wrong, f"{case.kind} ({case.reason}): {'; '.join(wrong)}"


def test_each_case_looks_for_something():
    for case in CASES:
        assert case.must_contain or case.must_contain_one_of or case.must_not_contain or case.notes_lead_to, case.id


def test_ids_are_unique():
    assert len({case.id for case in CASES}) == len(CASES)


def test_each_input_has_a_case():
    assert {path.name for path in INPUTS.iterdir()} == {case.input for case in CASES}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_workbooks_are_such_that_other_readers_open_them():
    """A detail that has nothing to do with the case must not fail the converters that it is compared with."""
    for path in INPUTS.glob("*.xlsx"):
        openpyxl.load_workbook(path)


def test_each_warning_that_begins_with_a_number_counts_things():
    """Only then do those of many documents add up."""
    for case in CASES:
        for warning in view(replace(case, look_in="warnings")).split("\n"):
            assert not warning[:1].isdigit() or not counted([warning])[1], f"{case.input}: {warning}"
