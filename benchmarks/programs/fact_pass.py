"""Facts and entities of a build for documents, for `benchmarks.fact_usefulness`: fact_pass.py CHECKOUT HOME LIST.

Runs stages 1 to 4 of the project in CHECKOUT, without embeddings and without a model. Prints one JSON object: by
document the first facts as they are in the file, the first by their score, and the first entities.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def main(checkout: str, home: str, documents: list[str], first: int) -> None:
    """Run the stages on every document, and print what a reader sees first."""
    sys.path.insert(0, checkout)
    from tasks.chunk import CHUNK
    from tasks.contract import SOURCE, DocumentInfo, Services, StageInput
    from tasks.convert import CONVERT
    from tasks.facts import FACTS
    from tasks.optimize import OPTIMIZE

    assert Path(sys.modules["tasks.facts"].__file__ or "").is_relative_to(checkout)
    stages: list[tuple[Any, dict[str, Any]]] = [
        (CONVERT, {}),
        (OPTIMIZE, {}),
        (CHUNK, {"embeddings": False}),
        (FACTS, {"method": "extractive"}),
    ]
    services = Services(home=Path(home))

    def run(path: Path, folder: Path) -> dict[str, Any]:
        data = path.read_bytes()
        document = DocumentInfo(
            name=path.name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            media_type="",
            source=str(path),
            modified_at=datetime(2025, 4, 1, tzinfo=UTC),
        )
        files = {SOURCE: path}
        for stage, options in stages:
            given = StageInput(document=document, files=dict(files), services=services)
            content = stage.run(given, stage.options(**options)).content
            files[stage.name] = folder / stage.name
            files[stage.name].write_bytes(content)
        return json.loads(files[FACTS.name].read_bytes())

    shown: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, documents):
            made = run(path, Path(folder))
            by_score = sorted(made["facts"], key=lambda fact: -fact["score"])
            shown[path.name] = {
                "facts": made["facts"][:first],
                "facts by score": by_score[:first],
                "entities": made["entities"][:first],
                "keywords": made["keywords"],
            }
    print(json.dumps(shown))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()), int(sys.argv[4]))
