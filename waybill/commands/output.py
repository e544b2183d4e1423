"""How commands print: lines and progress for people, one JSON object for programs; `tables` prints tables.

With ``--json`` standard output carries exactly one object; everything else goes to standard error. Names and texts that
people see come from anywhere, so characters that a terminal would act on are escaped. Rich is imported only where a
terminal shows progress.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer

from blocks.errors import WaybillError

# Control characters, lone surrogates, line and paragraph separators.
_CONTROL_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
# Characters that reverse the order of the text after them. Joiners have the same category, but languages need them.
_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_error(error: WaybillError, *, as_json: bool) -> None:
    """Print an error to standard error for people, and as the one object of ``--json``."""
    if as_json:
        print_json({"error": {"code": type(error).__name__, "message": error.message, "detail": {}}})
    print_notice(f"waybill: {error.message}")


def print_notice(text: str) -> None:
    """Print a message of one or more lines to standard error."""
    # Line breaks and tabs are Waybill's own, or those of a library's message.
    lines = map(escaped, text.expandtabs(4).split("\n"))
    # Read at each call: while a progress bar is shown, Rich has put a stream there that prints above the bar.
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def print_line(text: str) -> None:
    """Print one line to standard output."""
    typer.echo(escaped(text))


def print_marked(
    text: str, part: tuple[int, int], marks: Iterable[tuple[int, int]], *, before: str = "", after: str = ""
) -> None:
    """Print *part* of *text* as one line, where standard output is a terminal with *marks* in bold.

    *marks* are in order, inside of *part*, and do not overlap.
    """
    pieces: list[str] = []
    place = part[0]
    for start, end in (*marks, (part[1], part[1])):
        pieces.append(_in_one_line(text[place:start]))
        # `typer.echo` removes the codes where there is no terminal.
        pieces.append(typer.style(_in_one_line(text[start:end]), bold=True) if end > start else "")
        place = end
    typer.echo(f"{before}{''.join(pieces)}{after}")


def escaped(text: str) -> str:
    r"""Return *text* in one line, with ``\x1b``, ``\n`` and the like for what a terminal would act on."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode() if _is_acted_on(char) else char for char in text)


def human_time(iso_time: str) -> str:
    """Return a time of the catalogue in the reader's own time zone, which is named, to the second."""
    return datetime.fromisoformat(iso_time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def human_age(iso_time: str) -> str:
    """Return how long ago a time was, in its largest unit: ``3 s ago``, ``2 h ago``; ``in 5 min`` for one to come."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(iso_time)).total_seconds()
    unit, length = next(((unit, length) for unit, length in _UNITS if abs(seconds) >= length), ("s", 1))
    amount = f"{abs(int(seconds / length))} {unit}"
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


@contextmanager
def steps_shown() -> Generator[Callable[[str], None]]:
    """Show on standard error what the command waits for, where that is a terminal; call it with each step."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("starting") as line:
        yield line.update


class TimedSteps:
    """Steps of a long start: each is printed, and the last one is shown with the seconds since the start."""

    def __init__(self, show: Callable[[str], None], end: Callable[[], None]) -> None:
        self._show = show
        self.end = end
        """Show no more seconds: everything runs."""

    def say(self, step: str) -> None:
        """Print *step*, and show it as the one that is waited for."""
        print_notice(step)
        self._show(step.partition("\n")[0])


@contextmanager
def steps_timed() -> Generator[TimedSteps]:
    """Show steps on standard error, where that is a terminal with the seconds that the start has taken so far."""
    if not sys.stderr.isatty():
        yield TimedSteps(_ignore, _ignore)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    bars = Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
    task = bars.add_task("starting", total=None)
    with bars:
        yield TimedSteps(lambda step: bars.update(task, description=step), bars.stop)


@contextmanager
def progress_bar(description: str) -> Generator[Callable[[float, str], None]]:
    """Show a progress bar on standard error where that is a terminal; call it with percent and a short note."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task(description, total=100.0, note="")
        yield lambda percent, note: bars.update(task, completed=percent, note=note)


def _ignore(*_: object) -> None:
    """Show nothing: there is no terminal."""


def _in_one_line(text: str) -> str:
    return escaped(re.sub(r"\s+", " ", text))


def _is_acted_on(char: str) -> bool:
    return unicodedata.category(char) in _CONTROL_CATEGORIES or unicodedata.bidirectional(char) in _REORDERING
