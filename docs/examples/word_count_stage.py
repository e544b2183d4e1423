"""A sixth stage in one file: the most frequent words of a document.

Owns the form of its output, `NAME.words.json`:

    {"schema": "example.words/1", "words": 1234, "different_words": 456, "most_used": [{"word", "count"}]}

Words are counted in the Markdown below its YAML header, in lower case. Equal counts are in alphabetical order, so the
same Markdown always gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from pydantic import Field

from blocks.errors import EmptyDocument
from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput

_HEADER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]+")


class WordCountOptions(StageOptions):
    """Options of the word count."""

    min_letters: int = Field(default=4, ge=1, le=50, description="Minimum letters of a word that is counted.")
    most_used: int = Field(default=20, ge=1, le=1000, description="Maximum number of words in the list.")


def run(given: StageInput, options: WordCountOptions) -> StageOutput:
    """Count the words. Raises `EmptyDocument` when none is long enough."""
    text = given.first("markdown-optimizer", "markdown-conversion").read_text(encoding="utf-8")
    words = (word.lower() for word in _WORD.findall(_HEADER.sub("", text)))
    counts = Counter(word for word in words if len(word) >= options.min_letters)
    if not counts:
        raise EmptyDocument(
            f"{given.document.name} has no word of {options.min_letters} letters or more; lower min_letters"
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: options.most_used]
    content = {
        "schema": "example.words/1",
        "words": counts.total(),
        "different_words": len(counts),
        "most_used": [{"word": word, "count": count} for word, count in ranked],
    }
    return StageOutput(
        content=json.dumps(content, ensure_ascii=False, indent=2).encode() + b"\n",
        metadata={"words": counts.total(), "different_words": len(counts)},
    )


WORD_COUNT: Stage[WordCountOptions] = Stage(
    number=6,
    name="word-count",
    version="1",
    suffix=".words.json",
    media_type="application/json",
    reads=(Read(any_of=("markdown-optimizer", "markdown-conversion")),),
    options=WordCountOptions,
    run=run,
)
