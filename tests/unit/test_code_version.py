"""The text that distinguishes the code a process runs from the code that is installed."""

from __future__ import annotations

import os
from pathlib import Path

from waybill.stack.code_version import code_on_disk


def test_the_fingerprint_follows_contents_and_names_of_python_files_alone(tmp_path: Path) -> None:
    flow = tmp_path / "flows" / "process.py"
    flow.parent.mkdir()
    flow.write_text("one = 1\n")
    first = code_on_disk(tmp_path)

    os.utime(flow, (1, 1))
    (tmp_path / "flows" / "notes.txt").write_text("not code")
    assert code_on_disk(tmp_path) == first

    flow.write_text("one = 2\n")
    second = code_on_disk(tmp_path)
    flow.rename(flow.with_name("processing.py"))
    assert len({first, second, code_on_disk(tmp_path)}) == 3
