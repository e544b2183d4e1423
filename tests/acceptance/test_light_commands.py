"""Light commands start without the libraries of heavy ones. Asserts imports, not times: those depend on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS

pytestmark = WITH_UP

# Each takes from 20 ms to more than a second to import.
ONLY_FOR_OTHERS = {
    "alembic", "asyncpg", "cryptography", "fastapi", "fsspec", "httpx", "numpy", "onnxruntime", "prefect", "psutil",
    "pydantic", "pydantic_settings", "rich", "s3fs", "sqlalchemy", "tokenizers", "uvicorn", "yaml",
    "blocks.custody", "blocks.storage", "blocks.age", "blocks.webhooks", "tasks", "flows", "waybill.gateway",
}  # fmt: skip
# The question becomes a vector too, and passages are shown without the signs of Markdown.
FOR_SEARCH = {"numpy", "onnxruntime", "tokenizers", "tasks"}
# Prefect's client needs its own libraries; what processes documents stays out.
ONLY_FOR_RUNS = {
    "blocks.custody", "blocks.storage", "blocks.age", "tasks", "flows", "waybill.gateway", "alembic",
    "numpy", "onnxruntime", "s3fs", "tokenizers",
}  # fmt: skip
PROGRAM = """
import sys
from waybill.cli import run
code = run(sys.argv[2:])
print(code, *sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)
"""

LOOK = """
import sys
from blocks.settings import current_settings
from waybill.stack.stack import open_stack
from waybill.stack.watch import StackWatch
with open_stack(current_settings(), prefect=False) as stack:
    print(StackWatch(stack, print).look(), *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""


def imported(waybill: CommandLine, *arguments: str, among: set[str]) -> str:
    """The exit code, and which of these modules the command has imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, " ".join(among), *arguments],
        env=waybill.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    return done.stderr.splitlines()[-1]


@pytest.fixture(scope="module", autouse=True)
def indexed(waybill: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A document, so that no command finds nothing."""
    note = tmp_path_factory.mktemp("notes") / "lamp.md"
    note.write_text("# The lamp\n\nThe lamp of the lighthouse was replaced on 3 May 2019.\n")
    waybill.run("process", note)


@pytest.mark.parametrize(
    "arguments", [("files", "list"), ("files", "list", "--source", "a.pdf"), ("search", "when was the lamp replaced"),
                  ("stats",), ("keys", "list"), ("webhooks", "list"), ("worker", "list")], ids=" ".join,
)  # fmt: skip
def test_commands_that_only_read_the_catalogue_import_little_else(
    waybill: CommandLine, arguments: tuple[str, ...]
) -> None:
    allowed = {"webhooks": {"blocks.webhooks"}, "search": FOR_SEARCH}.get(arguments[0], set[str]())
    among = ONLY_FOR_OTHERS - allowed | {"tasks.contract", "tasks.registry"}
    assert imported(waybill, *arguments, among=among) == "0"


def test_looking_after_the_servers_imports_nothing_that_the_start_does_not(waybill: CommandLine) -> None:
    """Every command does it, once a second: on a busy machine also one that is over before that elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, " ".join(ONLY_FOR_OTHERS)],
        env=waybill.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "True"


def test_status_imports_prefect_and_nothing_that_runs_documents(waybill: CommandLine) -> None:
    assert imported(waybill, "status", "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a", among=ONLY_FOR_RUNS) == "1"
