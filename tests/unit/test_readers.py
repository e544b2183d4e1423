"""Each type has a reader, and none is imported before a document of its type comes."""

from __future__ import annotations

import subprocess
import sys

from blocks.filetype import TYPES
from tasks.conversion.readers import reader_of


def test_each_type_that_is_recognised_has_a_reader() -> None:
    assert all(callable(reader_of(file_type)) for file_type in TYPES.values())


def test_no_reader_is_imported_with_the_stage() -> None:
    program = (
        "import sys, tasks.convert\n"
        "print(*sorted(set(sys.modules) & {'xberg', 'lxml', 'pypdfium2', 'docutils', 'tasks.conversion.mail.reader'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_rules_for_facts_are_not_imported_with_the_stages() -> None:
    program = "import sys, tasks.registry; print('tasks.extraction.rules' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
