"""The sample sixth stage of the documentation, as its readers add it: by the environment, through the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import stored
from tests.integration.conftest import Workspace
from tests.stack_driver import prefect_variables

EXAMPLES = Path("docs/examples").absolute()
# What a process that serves the flow tells Prefect, from which Prefect's UI draws the form.
_SCHEMA = """
import json
from prefect.utilities.callables import parameter_schema
from flows.process import process_documents
print(json.dumps(parameter_schema(process_documents).model_dump_for_openapi()))
"""


@dataclass(frozen=True)
class Reader:
    """A person who follows the page on stages. Processes of their own: the stages are fixed when one starts."""

    environment: dict[str, str]

    def run(self, *arguments: str) -> dict[str, Any]:
        """The one JSON object that Python prints when it is started with *arguments*."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def process(self, *arguments: str) -> list[dict[str, Any]]:
        """``waybill process``; the stage outputs of the one document."""
        report = self.run("-m", "waybill", "process", *arguments, "--json")
        (document,) = report["documents"]
        return [artifact for artifact in document["artifacts"] if artifact["kind"] == "stage_output"]


@pytest.fixture
def reader(workspace: Workspace, prefect_server: str) -> Reader:
    added = {
        "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{EXAMPLES}",
        "WAYBILL_EXTRA_STAGES": "word_count_stage:WORD_COUNT",
        **prefect_variables(prefect_server),
        "PREFECT_HOME": str(workspace.home / "prefect"),
    }
    return Reader({**os.environ, **added})


def test_the_sample_stage_runs_in_a_worker_and_its_output_is_kept(reader: Reader, workspace: Workspace) -> None:
    options = workspace.write("options.json", '{"word-count": {"min_letters": 5, "most_used": 2}}')
    path = workspace.write("notes.txt", "Snow on the line. Snowploughs clear the snow: plough before plough.")
    first, counted = reader.process(str(path), "--stages", "1,6", "--options", str(options))
    assert (first["filename"], counted["filename"]) == ("notes.md", "notes.words.json")
    assert (counted["stage"], counted["stage_name"], counted["reused"]) == (6, "word-count", False)
    assert json.loads(stored.output(workspace.home, counted["file_id"])) == {
        "schema": "example.words/1",
        "words": 5,
        "different_words": 4,
        "most_used": [{"word": "plough", "count": 2}, {"word": "before", "count": 1}],
    }


def test_the_sample_stage_has_its_place_in_the_options_form(reader: Reader) -> None:
    schema = reader.run("-c", _SCHEMA)
    (options,) = (d for name, d in schema["definitions"].items() if name == "WordCountOptions")
    assert {name: field["default"] for name, field in options["properties"].items()} == {
        "min_letters": 4,
        "most_used": 20,
    }
    assert "word_count" in json.dumps(schema["definitions"]["ProcessOptions"])
