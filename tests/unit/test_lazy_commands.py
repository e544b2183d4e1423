"""Commands load when they run: their names and summaries stand in a table, which imports none of their libraries."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
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


# 'waybill files rm ID', or at the end of a sentence: waybill files rm ID
_QUOTED = re.compile(r"'waybill ([^']+)'")
_AT_THE_END = re.compile(r"(?:: |, or )waybill ([a-z].*)$")


def named_in_messages() -> Iterator[tuple[str, str]]:
    """Return where the product's texts name a command, and its words: what a person is asked to type."""
    for folder in ("blocks", "tasks", "flows", "waybill"):
        for path in sorted(Path(folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for words in _QUOTED.findall(node.value) + _AT_THE_END.findall(node.value):
                        yield f"{path}:{node.lineno}", words.split(", or waybill ")[0]


def test_every_command_that_a_message_names_is_there_with_its_options() -> None:
    unknown: list[str] = []
    seen = 0
    for where, words in named_in_messages():
        table: Mapping[str, LazyCommand | LazyCommands] = COMMANDS
        entry, known = None, True
        for word in words.split():
            if isinstance(entry, LazyCommand):
                if word.startswith("--") and word != "--help":
                    options = {option for one in entry.load("x").params for option in one.opts}
                    known = known and word.split("=")[0].rstrip(".,;") in options
            elif re.fullmatch(r"[a-z-]+[.,;]?", word) and not word.startswith("--"):
                entry = table.get(word.rstrip(".,;"))
                table = entry.commands if isinstance(entry, LazyCommands) else {}
                known = known and entry is not None
        seen += 1
        if not known:
            unknown.append(f"{where}: waybill {words}")
    assert unknown == []
    assert seen > 40
