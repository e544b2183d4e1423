"""Commands in an environment that is meant for other programs, next to a `waybill up` that was started in the same."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.hostile_environment import HOSTILE_ENVIRONMENT, fill_hostile_directory

pytestmark = WITH_UP


def test_commands_do_what_they_do_elsewhere(waybill: CommandLine, tmp_path: Path) -> None:
    fill_hostile_directory(tmp_path)
    (tmp_path / "harbour.md").write_text("# A harbour\n\nThe pilot boards at dawn.\n")
    hostile = waybill.with_environment(**HOSTILE_ENVIRONMENT)
    done = hostile.run("process", "harbour.md", "--stages", "1-2", cwd=tmp_path)
    assert "1 of 1 document completed" in done.stdout
    assert "Traceback" not in done.stderr
    assert "harbour.md" in hostile.run("events", cwd=tmp_path).stdout
    listed = hostile.json("files", "list", "--source", tmp_path / "harbour.md")
    # By the time of the database, in UTC, whatever the caller's zone and date style are.
    assert {file["created_at"][-6:] for file in listed["files"]} == {"+00:00"}
    assert len(listed["files"]) == 3
