"""One pass of a build's stages over documents, for `benchmarks.stage_speed`: stage_pass.py CHECKOUT HOME LIST.

Runs stages 1 to 4 of the project in CHECKOUT, as a worker process does: one document after the other, in this process.
Before the clock starts, one document of each format passes, so that imports and the model are loaded. Prints one JSON
object: seconds by document and stage, failures by document, seconds of those first ones, and the peak of this process.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def main(checkout: str, home: str, documents: list[str]) -> None:
    """Run every stage on every document, and print what it took."""
    sys.path.insert(0, checkout)
    from blocks.errors import WaybillError
    from tasks.chunk import CHUNK
    from tasks.contract import SOURCE, DocumentInfo, Services, StageInput
    from tasks.convert import CONVERT
    from tasks.facts import FACTS
    from tasks.optimize import OPTIMIZE

    assert Path(sys.modules["tasks.convert"].__file__ or "").is_relative_to(checkout)
    stages: list[Any] = [CONVERT, OPTIMIZE, CHUNK, FACTS]
    services = Services(home=Path(home))

    def run(path: Path, folder: Path) -> dict[str, float]:
        data = path.read_bytes()
        document = DocumentInfo(
            name=path.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            media_type="",
            source=str(path),
            modified_at=datetime(2025, 4, 1, tzinfo=UTC),
        )
        files, seconds = {SOURCE: path}, dict[str, float]()
        for stage in stages:
            given = StageInput(document=document, files=dict(files), services=services)
            options = stage.options(**({"method": "extractive"} if stage is FACTS else {}))
            started = time.perf_counter()
            content = stage.run(given, options).content
            seconds[stage.name] = time.perf_counter() - started
            files[stage.name] = folder / stage.name
            files[stage.name].write_bytes(content)
        return seconds

    paths = [Path(path) for path in documents]
    seconds: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for path in {path.suffix: path for path in paths}.values():
            _attempt(run, path, Path(folder), WaybillError)
        first_seconds = time.perf_counter() - started
        for path in paths:
            found = _attempt(run, path, Path(folder), WaybillError)
            if isinstance(found, str):
                failures[path.name] = found
            else:
                seconds[path.name] = found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "failures": failures, "first_seconds": first_seconds, "peak_bytes": peak}))


def _attempt(run: Any, path: Path, folder: Path, failure: type[Exception]) -> dict[str, float] | str:
    try:
        return run(path, folder)
    except failure as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
