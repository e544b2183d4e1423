"""Errors are types: each is worth a retry or is not, and each comes home from another process as it was."""

from __future__ import annotations

import copy
import inspect
import pickle
from uuid import uuid4

import pytest

from blocks import errors
from blocks.errors import Permanent, Transient, WaybillError

CONCRETE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, WaybillError) and kind not in {WaybillError, Transient, Permanent}
]


def test_every_concrete_error_is_either_transient_or_permanent(subtests: pytest.Subtests) -> None:
    for kind in CONCRETE:
        with subtests.test(kind=kind):
            assert issubclass(kind, Transient) != issubclass(kind, Permanent)


def test_every_error_says_what_it_means(subtests: pytest.Subtests) -> None:
    for kind in CONCRETE:
        with subtests.test(kind=kind):
            assert kind.__doc__ and kind.__doc__ != WaybillError.__doc__


def test_an_error_survives_pickling_with_its_attributes(subtests: pytest.Subtests) -> None:
    for kind in CONCRETE:
        for copied in (pickled, copy.copy, copy.deepcopy):
            with subtests.test(kind=kind, copied=copied):
                file_id = uuid4()
                error = kind("cannot do it; try that", file_id=file_id, sqlstate=None)
                again = copied(error)
                assert type(again) is kind
                assert str(again) == again.message == "cannot do it; try that"
                assert (again.file_id, again.sqlstate) == (file_id, None)
                assert again.context == {"file_id": file_id, "sqlstate": None}


def pickled(error: WaybillError) -> WaybillError:
    return pickle.loads(pickle.dumps(error))  # noqa: S301


def test_the_two_halves_of_the_tree_are_apart() -> None:
    assert not issubclass(Transient, Permanent) and not issubclass(Permanent, Transient)
    assert len({kind.__name__ for kind in CONCRETE}) == len(CONCRETE) > 20
