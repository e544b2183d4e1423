"""What people are shown: names and texts from anywhere, on a terminal that acts on what it is sent."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from blocks.errors import InvalidOptions
from blocks.runtime.in_words import counted
from waybill.commands.output import escaped, human_age, human_time, print_error, print_line, print_notice
from waybill.commands.tables import print_table

NOW = datetime(2026, 11, 30, 7, 0, tzinfo=UTC)
HOSTILE = "a\x1b]0;owned\x07\x1b[31m\r\u202egnp.\x9b2J\ud800\u2028.md"
HARMLESS = r"a\x1b]0;owned\x07\x1b[31m\r\u202egnp.\x9b2J\ud800\u2028.md"


def test_what_a_terminal_would_act_on_is_escaped_wherever_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [(HOSTILE, "1"), ("two\nlines", "2")], numeric=("n",))
    print_line(HOSTILE)
    print_notice(f"{HOSTILE}\n\tsecond line")
    print_error(InvalidOptions(f"no file {HOSTILE}"), as_json=False)
    shown = capsys.readouterr()
    assert shown.out.count(HARMLESS) == 2
    assert r"two\nlines" in shown.out
    assert shown.err == f"{HARMLESS}\n    second line\nwaybill: no file {HARMLESS}\n"
    assert not set(shown.out + shown.err) & set("\x1b\x07\r\u202e\x9b\ud800\u2028")


@pytest.mark.parametrize("name", ["[bold]x[/bold].md", r"a\[red]b", "[/nothing]", "Übung 👩‍💻 می‌خواهم.md", ""])
def test_what_is_only_unusual_is_shown_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [(name,)])
    print_notice(name)
    shown = capsys.readouterr()
    assert escaped(name) == name
    assert shown.out.splitlines()[1].rstrip() == name
    assert shown.err == f"{name}\n"


class Clock(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return NOW.astimezone(tz)


def listing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> list[str]:
    """Return the lines of a list of files in a terminal of *width* columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    name = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
    row = (name, name, "stage_output", "1 markdown-conversion", "4.2 kB", "2026-11-30 06:53:37 UTC", f"/in/{name}")
    columns = ("id", "name", "kind", "stage", "size", "made", "source")
    print_table(columns, [row, row], numeric=("size",), cut=("name",), spare=("source", "kind", "made"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return [line.rstrip() for line in plain.splitlines()]


def test_a_narrow_terminal_shows_what_matters_of_each_row_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listing(monkeypatch, capsys, 80) == [
        "id        name                                  stage                    size",
        *["0b6f1c3e  0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a  1 markdown-conversion  4.2 kB"] * 2,
    ]


def test_a_wide_terminal_shows_all_of_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = listing(monkeypatch, capsys, 240)
    assert wide[0].split() == ["id", "name", "kind", "stage", "size", "made", "source"]
    assert wide[1].startswith(
        "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a  0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a  stage_output"
    )
    assert len(wide) == 3


def test_times_have_seconds_and_the_zone_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        assert human_time("2026-11-28T16:56:41.5+00:00") == "2026-11-28 17:56:41 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "document", "1 document"),
        (0, "file", "0 files"),
        (1200, "chunk", "1,200 chunks"),
        (2, "entity", "2 entities"),
    ],
)
def test_nouns_have_the_number_of_what_is_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s ago"), (150, "2 min ago"), (7300, "2 h ago"), (2.5 * 86400, "2 d ago"), (-330, "in 5 min")],
)
def test_an_age_is_given_in_its_largest_unit(seconds: float, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waybill.commands.output.datetime", Clock)
    assert human_age((NOW - timedelta(seconds=seconds)).isoformat()) == text
