"""A watched folder, as a user has it: `waybill up` finds new files, and processes each of them once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS

pytestmark = WITH_UP


def outputs_of(waybill: CommandLine, path: Path) -> list[dict[str, Any]]:
    files = waybill.json("files", "list", "--source", path, "--stage", "1")["files"]
    return [file for file in files if file["source_file"] == str(path)]


def wait_for_output(waybill: CommandLine, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not outputs_of(waybill, path):
        assert time.monotonic() < deadline, waybill.json("watch", "list")
        time.sleep(1)


def look_until_whole(waybill: CommandLine, inbox: Path) -> list[str]:
    """Look until the file that was just written counts as whole; the ids of the runs that were started."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        looked = waybill.json("watch", inbox, "--once", "--stages", "1", "--settle", "1s")
        if looked["run_ids"]:
            return list(looked["run_ids"])
        assert time.monotonic() < deadline, looked
        time.sleep(0.5)


def test_new_files_of_a_watched_folder_are_processed_by_themselves(waybill: CommandLine, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    first, second = inbox / "first.md", inbox / "second.md"
    first.write_text("# The first letter\n\nThe plough leaves at six.\n")
    made = waybill.json("watch", inbox, "--every", "1h", "--stages", "1", "--settle", "1s")
    assert made["source"] == str(inbox)
    try:
        wait_for_output(waybill, first)
        second.write_text("# The second letter\n\nThe plough came back at nine.\n")
        # As the next look of the schedule would, in an hour.
        (started,) = look_until_whole(waybill, inbox)
        assert started
        wait_for_output(waybill, second)
        (listed,) = [one for one in waybill.json("watch", "list")["watches"] if one["watch_id"] == made["watch_id"]]
        assert (listed["every"], listed["active"], listed["files"], listed["problem"]) == ("1h", True, 2, None)
        # It took the first file once, however often it has looked.
        runs = waybill.json("runs", "list", "--limit", "200")["runs"]
        assert [run["sources"] for run in runs if str(first) in run["sources"]] == [[str(first)]]
        looked = waybill.json("watch", inbox, "--once")
        assert (looked["taken"], looked["run_ids"]) == (0, [])
    finally:
        waybill.run("watch", "remove", inbox)
    assert waybill.json("watch", "list")["watches"] == []
    assert "no watch" in waybill.run("watch", "remove", inbox, expect=1).stderr
