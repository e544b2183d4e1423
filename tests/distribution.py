"""Which process of a parallel run gets which tests: a file, or what is marked as a group, stays together, and what
takes longest begins first, so that no process is left alone at the end.

How long each takes is read from ``durations.json``, which ``pytest -n 4 --record-durations`` writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

_FILE = Path(__file__).with_name("durations.json")
# For what was not there when the durations were recorded.
_UNKNOWN_SECONDS = 5.0


def group_of(nodeid: str) -> str:
    """The file, or the name of the `xdist_group`, which xdist adds behind an ``@``."""
    if nodeid.rfind("@") > nodeid.rfind("]"):
        return nodeid.rpartition("@")[2]
    return nodeid.partition("::")[0]


class LongestFirst(LoadScopeScheduling):
    """xdist's own scheduling by scope, for these groups and in this order."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def sort_longest_first(items: list[pytest.Item]) -> None:
    """Put *items* into the order in which they are given out. All processes of a run must come to the same."""
    seconds: dict[str, float] = json.loads(_FILE.read_text())
    items.sort(key=lambda item: -seconds.get(group_of(item.nodeid), _UNKNOWN_SECONDS))


class Recorder:
    """Adds up how long the tests of each group take, and writes it down at the end."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[group_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        found = {group: round(seconds, 1) for group, seconds in sorted(self._seconds.items())}
        _FILE.write_text(json.dumps(found, indent=1) + "\n")
