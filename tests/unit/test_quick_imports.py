"""Imports without a search for garbage: the collector is on again, and leaves alone what was imported."""

from __future__ import annotations

import gc

import pytest

from blocks.runtime.quick_imports import collected_seldom, quick_imports


def test_the_collector_is_off_inside_and_as_before_outside_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_imported_is_not_looked_at_again() -> None:
    frozen = gc.get_freeze_count()
    with quick_imports():
        kept = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_garbage_is_looked_for_seldom_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), collected_seldom():
        assert gc.get_threshold() == (10_000, 20, 20)
        assert gc.isenabled()
        raise KeyError
    assert gc.get_threshold() == before
