"""Commands load when they run: their names and summaries stand in a table, which imports none of their libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from waybill.cli import COMMANDS
from waybill.commands.lazy_group import LazyCommand, LazyCommands


def commands(table: Mapping[str, LazyCommand | LazyCommands], above: tuple[str, ...] = ()) -> list[Any]:
    found: list[Any] = []
    for name, entry in table.items():
        words = (*above, name)
        if isinstance(entry, LazyCommands):
            found += commands(entry.commands, words)
        else:
            found.append(pytest.param(words[-1], entry, id=" ".join(words)))
    return found


@pytest.mark.parametrize(("name", "entry"), commands(COMMANDS))
def test_the_summary_in_the_list_is_the_first_sentence_of_the_command_s_own_help(name: str, entry: LazyCommand) -> None:
    assert entry.load(name).get_short_help_str(limit=200) == entry.summary
    assert len(entry.summary) <= 75, "the list would wrap on a terminal of 80 columns"


@pytest.mark.parametrize("arguments", [["--help"], ["files", "--help"], ["--version"], ["frobnicate"]])
def test_help_imports_no_library_that_only_a_command_needs(arguments: list[str]) -> None:
    heavy = ("pydantic", "pydantic_settings", "prefect", "psycopg", "cryptography", "s3fs", "fsspec", "rich", "asyncio",
             "sqlalchemy", "alembic", "numpy", "onnxruntime", "fastapi", "httpx")  # fmt: skip
    program = (
        "import sys; from waybill.cli import run; run(sys.argv[1].split()); "
        "print(*sorted(set(sys.argv[2].split()) & set(sys.modules)), file=sys.stderr, sep=',')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, " ".join(arguments), " ".join(heavy)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "", done.stderr
