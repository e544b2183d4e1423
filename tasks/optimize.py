"""Stage 2: repair and normalise Markdown without losing a word."""

from __future__ import annotations

import re
from collections import Counter

import ftfy
import mdformat
from pydantic import Field

from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput


class OptimizeOptions(StageOptions):
    """Options of the optimiser."""

    max_format_bytes: int = Field(default=2_000_000, ge=0, description="Larger documents are repaired, not formatted.")


def optimize(given: StageInput, options: OptimizeOptions) -> StageOutput:
    """Repair encoding damage, then format; the original stays where formatting would lose a word."""
    text = given.first("markdown-conversion").read_text(encoding="utf-8")
    config = ftfy.TextFixerConfig(uncurl_quotes=False, unescape_html=False, fix_character_width=False)
    repaired = ftfy.fix_text(text, config)
    result, guard = repaired, "too-large"
    if len(repaired.encode()) <= options.max_format_bytes:
        formatted = mdformat.text(repaired, extensions={"gfm", "frontmatter"}, options={"number": True, "compact_tables": True})
        lost = _words(repaired) - _words(formatted)
        result, guard = (repaired, "kept-original") if lost else (formatted, "passed")
    return StageOutput(content=result.encode(), metadata={"guard": guard})


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


OPTIMIZE = Stage(
    number=2,
    name="markdown-optimizer",
    version="1",
    suffix=".opt.md",
    media_type="text/markdown",
    reads=(Read(any_of=("markdown-conversion",)),),
    options=OptimizeOptions,
    run=optimize,
)
