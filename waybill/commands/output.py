"""How commands talk: tables and progress for people, one JSON object for programs.

With ``--json`` standard output carries exactly one object; everything else goes to standard error. What people are
shown holds names and texts that came from anywhere: what a terminal would act on is spelled out.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from blocks.errors import WaybillError

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)

# Control characters, lone surrogates, line and paragraph separators.
_ACTED_ON = {"Cc", "Cs", "Zl", "Zp"}
# What turns the order of what follows; joiners, which are of the same category, belong to words of many languages.
_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_error(error: WaybillError, *, as_json: bool) -> None:
    """Tell an error: on standard error for people, and as the one object of ``--json``."""
    if as_json:
        print_json({"error": {"code": type(error).__name__, "message": error.message, "detail": {}}})
    print_notice(f"waybill: {error.message}")


def print_notice(text: str) -> None:
    """One line, or some, for the person at the terminal, on standard error."""
    # Line breaks and tabs are ours, or of a library's message.
    _ERRORS.print("\n".join(map(spelled_out, text.expandtabs(4).split("\n"))), markup=False)


def print_line(text: str) -> None:
    """One line on standard output."""
    typer.echo(spelled_out(text))


def spelled_out(text: str) -> str:
    r"""*text* in one line, with ``\x1b``, ``\n`` and the like for what a terminal would act on."""
    return "".join(char.encode("unicode_escape").decode() if _is_acted_on(char) else char for char in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[str] = ()) -> None:
    """A table on standard output; columns in *numeric* are aligned to the right."""
    # Where no terminal tells its width, nothing is cut: whoever reads a file or a pipe wants whole names.
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        # As text: brackets in a file's name are not rich's markup.
        table.add_row(*(Text(spelled_out(cell)) for cell in row))
    console.print(table)


def human_size(size_bytes: int) -> str:
    """``1.4 MB`` for people; decimal units as file managers show them."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit always returns")


def human_time(iso_time: str) -> str:
    """A time of the catalogue in the reader's own zone, to the minute."""
    return datetime.fromisoformat(iso_time).astimezone().strftime("%Y-%m-%d %H:%M")


@contextmanager
def steps_shown() -> Generator[Callable[[str], None]]:
    """A line on standard error that says what is being waited for; only where that is a terminal."""
    if not _ERRORS.is_terminal:
        yield _ignore
        return
    with _ERRORS.status("starting") as line:
        yield line.update


@contextmanager
def progress_bar(description: str) -> Generator[Callable[[float, str], None]]:
    """A progress bar on standard error where that is a terminal; call it with percent and a word on what is done."""
    if not _ERRORS.is_terminal:
        yield _ignore
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=_ERRORS, transient=True) as bars:
        task = bars.add_task(description, total=100.0, note="")
        yield lambda percent, note: bars.update(task, completed=percent, note=note)


def _ignore(*_: object) -> None:
    """Nobody watches."""


def _is_acted_on(char: str) -> bool:
    return unicodedata.category(char) in _ACTED_ON or unicodedata.bidirectional(char) in _TURNING
