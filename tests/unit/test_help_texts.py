"""What ``--help`` shows of every command: whole sentences, what a person types, 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from waybill.cli import COMMANDS, run
from waybill.commands.lazy_group import LazyCommand, LazyCommands


def paths(entries: Mapping[str, LazyCommand | LazyCommands], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, entry in entries.items():
        yield (*above, name)
        if isinstance(entry, LazyCommands):
            yield from paths(entry.commands, (*above, name))


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run([*command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [(), *paths(COMMANDS)], ids=" ".join)
def test_help_names_what_a_person_types_and_fits_a_terminal(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, *command)
    usage = text.partition("\n\n")[0]
    assert "{" not in usage
    assert not re.search(r"<(str|int|float|list|path|file)\b", text), text
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"[a-z]\.\.\.$", text, re.MULTILINE)  # a sentence that was cut


def test_arguments_and_options_have_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Usage: waybill process [OPTIONS] [SOURCE...]\n" in help_of(capsys, "process")
    assert "--limit NUMBER" in help_of(capsys, "files", "list")
    assert "--note TEXT" in help_of(capsys, "files", "pin")
