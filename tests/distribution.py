"""Which process of a parallel run gets which tests: a file, or what is marked as a group, stays together, and what
takes longest begins first, so that no process is left alone at the end.

How long each takes is read from ``durations.json``, which ``pytest -n 3 --dist loadgroup --record-durations`` writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_FILE = Path(__file__).with_name("durations.json")
# For what was not there when the durations were recorded.
_UNKNOWN_SECONDS = 5.0


class Groups:
    """The group of each test: its file, or the name in its mark `xdist_group`. Kept in the folder of the run."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / "groups"
        self._marked: dict[str, str] | None = None

    def of(self, nodeid: str) -> str:
        """Known in the process that starts the workers as soon as one of them has collected its tests."""
        if self._marked is None and self._path.exists():
            self._marked = json.loads(self._path.read_text())
        return (self._marked or {}).get(nodeid) or nodeid.partition("::")[0]

    def sort_longest_first(self, items: list[pytest.Item], worker: str) -> None:
        """Note the groups of *items*, and put them into the order in which they are given out."""
        marks = {item.nodeid: item.get_closest_marker("xdist_group") for item in items}
        self._marked = {nodeid: str(mark.args[0]) for nodeid, mark in marks.items() if mark}
        draft = self._path.with_suffix(f".{worker}")
        draft.write_text(json.dumps(self._marked))
        draft.replace(self._path)
        seconds: dict[str, float] = json.loads(_FILE.read_text())
        # Groups that are equally long must not mix, and a group's files follow one another.
        items.sort(key=lambda item: self._place(item.nodeid, seconds))

    def _place(self, nodeid: str, seconds: dict[str, float]) -> tuple[float, str, str]:
        group = self.of(nodeid)
        return -seconds.get(group, _UNKNOWN_SECONDS), group, nodeid.partition("::")[0]


class LongestFirst(LoadScopeScheduling):
    """xdist's own scheduling by scope, for these groups and in this order."""

    def __init__(self, config: pytest.Config, log: Any, groups: Groups) -> None:
        super().__init__(config, log)
        self._groups = groups

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.of(nodeid)


class Recorder:
    """Adds up how long the tests of each group take, and writes it down at the end."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[self._groups.of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        found = {group: round(seconds, 1) for group, seconds in sorted(self._seconds.items())}
        _FILE.write_text(json.dumps(found, indent=1) + "\n")
