"""Cases of fidelity: an input, where to look in what the stages make of it, and what must and must not stand there.

The cases are JSON, one file per group of formats, in `cases/`; their inputs are in `inputs/`. Each case has

- `id`, `kind`: the kind of fault that it is an example of;
- `input`: the file in `inputs/`;
- `look_in`: `header`, `optimised` (the Markdown of stage 2), `chunks` (heading path and text of each), `facts` (one
  statement a line, in the document's order), `entities` (one "text | type | value" a line) or `warnings` (one a line,
  of stages 1 and 2);
- `must_contain`, `must_contain_one_of`, `must_not_contain`: texts;
- `notes_lead_to`: pairs of the text before a note's mark and the text that the note begins with;
- `reason`: why this is right.

A format that needs an option of stage 1 has `options`.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tasks.chunk import CHUNK
from tasks.contract import SOURCE, DocumentInfo, Services, StageInput
from tasks.convert import CONVERT
from tasks.facts import FACTS
from tasks.optimize import OPTIMIZE

HERE = Path(__file__).parent
INPUTS = HERE / "inputs"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case; see the module."""

    id: str
    kind: str
    input: str
    look_in: str
    reason: str
    must_contain: tuple[str, ...] = ()
    must_contain_one_of: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    notes_lead_to: tuple[tuple[str, str], ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def faults(self, text: str) -> list[str]:
        """Return what is wrong with *text*, the view that this case looks in."""
        wrong = [f"lacks {part!r}" for part in self.must_contain if part not in text]
        if self.must_contain_one_of and not any(part in text for part in self.must_contain_one_of):
            wrong.append(f"has none of {self.must_contain_one_of!r}")
        for before, note in self.notes_lead_to:
            if not _leads_to(text, before, note):
                wrong.append(f"the note after {before!r} is not {note!r}")
        return wrong + [f"has {part!r}" for part in self.must_not_contain if part in text]


def all_cases() -> Iterator[Case]:
    """Yield every case of every file, in order."""
    for path in sorted((HERE / "cases").glob("*.json")):
        for fields in json.loads(path.read_text()):
            yield Case(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def view(case: Case) -> str:
    """Return the view of the input that *case* looks in."""
    return views(case.input, json.dumps(case.options, sort_keys=True))[case.look_in]


@cache
def views(name: str, options: str = "{}") -> dict[str, str]:
    """Run stages 1 to 4 on an input, without embeddings and without a model, and return what can be looked in."""
    source = INPUTS / name
    with tempfile.TemporaryDirectory() as folder:
        texts, warnings = _run_stages(source, Path(folder), json.loads(options))
    header, _, body = texts[OPTIMIZE.name].partition("---\n\n")
    chunks = json.loads(texts[CHUNK.name])["chunks"]
    facts = json.loads(texts[FACTS.name])
    ordinals = {chunk["id"]: chunk["ordinal"] for chunk in chunks}
    stated = sorted(facts["facts"], key=lambda fact: (ordinals[fact["chunk_id"]], fact["start"]))
    return {
        "header": header,
        "optimised": "\n" + body,
        "chunks": _lines(f"{chunk['heading_path']} {chunk['text']}" for chunk in chunks),
        "facts": _lines(fact["statement"] for fact in stated),
        "entities": _lines(f"{one['text']} | {one['type']} | {one.get('value')}" for one in facts["entities"]),
        "warnings": _lines(warnings),
    }


def _run_stages(source: Path, folder: Path, options: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    data = source.read_bytes()
    document = DocumentInfo(
        name=source.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        media_type="",
        source=str(source),
        modified_at=datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    )
    files, texts, warnings = {SOURCE: source}, dict[str, str](), list[str]()
    chosen = ((CONVERT, options), (OPTIMIZE, {}), (CHUNK, {"embeddings": False}), (FACTS, {"method": "extractive"}))
    for stage, given in chosen:
        made = stage.run(
            StageInput(document=document, files=dict(files), services=Services(home=folder)), stage.options(**given)
        )
        files[stage.name] = folder / stage.name
        files[stage.name].write_bytes(made.content)
        texts[stage.name] = made.content.decode()
        if stage in (CONVERT, OPTIMIZE):
            warnings += made.warnings
    return texts, warnings


def _lines(texts: Iterator[str] | list[str]) -> str:
    return "\n" + "\n".join(texts) + "\n"


def _leads_to(text: str, before: str, note: str) -> bool:
    """Return whether the first note mark after *before* is that of the note that begins with *note*."""
    mark = re.search(re.escape(before) + r"\s?\[\^([^\]]+)\]", text)
    return mark is not None and re.search(rf"^\[\^{re.escape(mark[1])}\]:\s+{re.escape(note)}", text, re.M) is not None
