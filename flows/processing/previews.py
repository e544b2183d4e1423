"""The beginning of a document's text and its best facts, for the summary of a run.

Of the first documents only, and little of each: the summary is one page in Prefect's database. Read from custody when
the documents are done; what cannot be read has no preview.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from blocks.errors import WaybillError
from blocks.runtime.in_words import shortened
from tasks.document import Deliverable, Document
from tasks.facts import FACTS
from tasks.run_context import RunContext
from tasks.text.readable import readable

# A person who wants more opens the documents at the gateway.
MAX_DOCUMENTS = 3
MAX_CHARS = 600
MAX_FACTS = 5
MAX_FACT_CHARS = 200

# The header before the text has under 1 kB, unless the author's own is long.
_READ_BYTES = 8192
# Facts of a book. Larger files are not read for five lines.
_MAX_FACTS_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The beginning of the text, and the facts with the highest scores, best first."""

    text: str = ""
    facts: tuple[str, ...] = ()


async def read_previews(documents: Sequence[Document], context: RunContext) -> dict[Document, Preview]:
    """Return previews of the first of *documents* that did not fail. Never raises what custody raises."""
    found: dict[Document, Preview] = {}
    for document in [one for one in documents if not one.failed][:MAX_DOCUMENTS]:
        with suppress(WaybillError):
            preview = Preview(text=await _text(document, context), facts=await _facts(document, context))
            if preview != Preview():
                found[document] = preview
    return found


async def _text(document: Document, context: RunContext) -> str:
    texts = [one for one in document.outputs.values() if one.artifact.media_type.startswith("text/markdown")]
    if not texts:
        return ""
    artifact = texts[-1].artifact
    read = await context.custody.read_part(artifact, 0, min(_READ_BYTES, artifact.size))
    return beginning(read.decode("utf-8", "ignore"))


def beginning(markdown: str) -> str:
    """Return the first characters of the text after the header as a person reads them, cut between two words."""
    if markdown.startswith("---\n"):
        markdown = markdown.partition("\n---\n")[2]
    text = readable(markdown).text.strip()
    if len(text) <= MAX_CHARS:
        return text
    cut = text[: MAX_CHARS - 1]
    return (cut.rsplit(None, 1)[0] if any(map(str.isspace, cut)) else cut) + "…"


async def _facts(document: Document, context: RunContext) -> tuple[str, ...]:
    output: Deliverable | None = document.outputs.get(FACTS.name)
    if output is None or output.artifact.size > _MAX_FACTS_BYTES:
        return ()
    with suppress(ValueError, TypeError, AttributeError):  # of another stage of this name, or a remote worker
        return best_facts(json.loads(await context.custody.read(output.artifact)))
    return ()


def best_facts(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the statements with the highest scores in the output of stage 4, each cut."""
    facts = cast("list[Mapping[str, Any]]", content["facts"])
    ranked = sorted(facts, key=lambda fact: -float(fact.get("score") or 0))[:MAX_FACTS]
    return tuple(shortened(" ".join(str(fact["statement"]).split()), MAX_FACT_CHARS) for fact in ranked)
