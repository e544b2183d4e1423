"""What people are shown: names and texts from anywhere, on a terminal that acts on what it is sent."""

from __future__ import annotations

import pytest

from blocks.errors import InvalidOptions
from waybill.commands.output import escaped, print_error, print_line, print_notice, print_table

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
