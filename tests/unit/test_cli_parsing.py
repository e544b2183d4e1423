"""How commands read what a person types."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from blocks.errors import InvalidOptions
from waybill.cli import app, run
from waybill.services.run_options import read_stages


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1-5", [1, 2, 3, 4, 5]), ("1", [1]), ("1,3-5", [1, 3, 4, 5]), (" 2 , 1 ", [1, 2]), ("1-1", [1])],
)
def test_stage_ranges_are_read(text: str, numbers: list[int]) -> None:
    assert read_stages(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "5-1", "0", "99", "1..3", "1-5000", "¹", "3", "2-5", "1,4"])
def test_other_stage_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        read_stages(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["process"],
        ["process", "/nowhere/at/all.pdf"],
        ["process", "README.md", "--stages", "9"],
        ["process", "README.md", "--stages", "3"],
        ["process", "README.md", "--stages", "1,4"],
        ["files", "show", "not-an-id"],
        ["files", "list", "--kind", "sock"],
        ["search", "x", "-k", "0"],
        ["files", "verify"],
        ["files", "verify", "--all", "--sample", "3"],
        ["files", "verify", "--sample", "0"],
        ["age", "encrypt", "-r", "age1nonsense"],
        ["frobnicate"],
        ["status", "not-an-id"],
    ],
)
def test_wrong_use_exits_with_2_and_says_what_to_do(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAYBILL_HOME", str(tmp_path / "home"))
    assert run([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["message"]
    assert captured.err.startswith("waybill: ")


@pytest.mark.parametrize("command", [["process", "README.md"], ["watch", "docs"], ["watch", "docs", "--once"]])
@pytest.mark.parametrize("url", ["not a url", "example.com/hook", "http://10.0.0.1/hook"])
def test_an_address_that_gets_no_webhooks_is_refused_before_a_server_is_started(
    command: list[str], url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAYBILL_HOME", str(tmp_path / "home"))
    assert run([*command, "--webhook-url", url]) == 2
    assert not (tmp_path / "home").exists()


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group there is."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def test_a_variable_that_prefect_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings.models.logging import LoggingSettings

    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "NOPE")
    monkeypatch.setattr("waybill.cli.app", lambda *_, **__: LoggingSettings())
    assert run(["stats"]) == 2
    assert "PREFECT_LOGGING_LEVEL" in capsys.readouterr().err


def test_every_command_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 20
    for arguments in found:
        assert run([*arguments, "--help"]) == 0
        assert len(capsys.readouterr().out) > 100


def test_a_full_disk_under_any_file_is_one_line_and_other_errors_stay_visible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(error: OSError) -> None:
        def command(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("waybill.cli.app", command)

    raising(OSError(errno.ENOSPC, "No space left on device", "/home/x"))
    assert run(["stats"]) == 1
    raising(OSError(errno.EROFS, "Read-only file system", "/home/y"))
    assert run(["stats"]) == 1
    assert capsys.readouterr().err == (
        "waybill: cannot write /home/x: No space left on device; free some space and start again\n"
        "waybill: cannot write /home/y: Read-only file system\n"
    )
    raising(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    with pytest.raises(ConnectionRefusedError):
        run(["stats"])


def test_a_flow_that_is_terminated_is_an_interruption_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a flow runs, Prefect's handler of SIGTERM is in place of ours."""
    from prefect.exceptions import TerminationSignal

    def terminated(*_: Any, **__: Any) -> None:
        raise TerminationSignal(signal=15)

    monkeypatch.setattr("waybill.cli.app", terminated)
    assert run(["process", "report.pdf"]) == 130
    assert "interrupted; run the same again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["search", "x", "-k", "0"], "; see 'waybill search --help'"),
        (["files", "get"], "; see 'waybill files get --help'"),
        (["runs", "lst"], "Did you mean 'list'? See 'waybill runs --help'"),
        (["frobnicate"], "; see 'waybill --help'"),
    ],
)
def test_wrong_use_names_the_help_of_its_command(
    arguments: list[str], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.endswith(f"{end}\n")


@pytest.mark.parametrize("words", [[], ["runs"]])
def test_a_group_without_a_command_shows_its_help_as_it_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Usage: waybill ") and "--help' " not in shown.splitlines()[-1]
    assert run([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"]
