"""Which home a command uses, and that reading never makes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import CommandLine

READING = (
    ("files", "list"),
    ("search", "a question"),
    ("stats",),
    ("events",),
    ("webhooks", "list"),
    ("keys", "list"),
    ("exports", "list"),
    ("expire", "--dry-run"),
)


def commands_in(folder: Path, run_folder: Path) -> CommandLine:
    """Commands whose home nothing names."""
    return CommandLine(folder / "unused", run_folder).with_environment(WAYBILL_HOME="")


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_reading_command_makes_no_home(command: tuple[str, ...], tmp_path: Path, run_folder: Path) -> None:
    done = commands_in(tmp_path, run_folder).run(*command, cwd=tmp_path, expect=2)
    assert f"there is no Waybill home at {tmp_path / '.waybill'}" in done.stderr
    assert "WAYBILL_HOME" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_named_and_not_there_is_no_empty_one(tmp_path: Path, run_folder: Path) -> None:
    elsewhere = commands_in(tmp_path, run_folder).with_environment(WAYBILL_HOME=tmp_path / "mistyped")
    assert f"no Waybill home at {tmp_path / 'mistyped'}" in elsewhere.run("files", "list", expect=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_below_a_home_uses_it_and_says_so(tmp_path: Path, run_folder: Path) -> None:
    below = tmp_path / "reports" / "2026"
    below.mkdir(parents=True)
    (below / "report.md").write_text("# Report\n\nSome words.\n")
    waybill = commands_in(tmp_path, run_folder)
    waybill.run("files", "put", below / "report.md", cwd=tmp_path)
    home = tmp_path / ".waybill"
    found = waybill.run("files", "list", cwd=below)
    assert "report.md" in found.stdout
    assert f"using the home {home}" in found.stderr
    stored = waybill.run("files", "put", "report.md", cwd=below)
    assert f"using the home {home}" in stored.stderr
    assert not (below / ".waybill").exists()
    assert "using the home" not in waybill.run("files", "list", cwd=tmp_path).stderr


def test_a_mistyped_variable_is_named(tmp_path: Path, run_folder: Path) -> None:
    waybill = commands_in(tmp_path, run_folder).with_environment(WAYBILL_HOEM="/x")
    done = waybill.run("files", "list", cwd=tmp_path, expect=2)
    assert "WAYBILL_HOEM is not a setting and is ignored; did you mean WAYBILL_HOME?" in done.stderr
