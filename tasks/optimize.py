"""Stage 2: Markdown is repaired and normalised, without losing a word.

Owns the order of the repairs, which text is formatted at all, and the warnings. Never fails a document for its form:
what cannot be improved safely stays unchanged. Text that was plain text has its normal form from stage 1, and only its
characters are repaired.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import Field

from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput
from tasks.losses import losses
from tasks.optimization.hyphenation import join_cut_words
from tasks.optimization.repair import collapse_empty_lines, normalise_line_ends, repair_characters
from tasks.optimization.running_lines import remove_running_lines

if TYPE_CHECKING:
    from tasks.optimization.formatting import Formatted

_FRONT_MATTER = re.compile(r"---\n.*?^---\n\n?", re.DOTALL | re.MULTILINE)
_PLAIN_TEXT = "txt"  # as the header of stage 1 names it, for logs and subtitles too
_WORD = re.compile(r"[^\W_]+")


class OptimizeOptions(StageOptions):
    """Options of the Markdown optimizer."""

    repair_encoding: bool = Field(
        default=True,
        description="Repair wrongly decoded characters (schÃ¶n to schön), ligatures and invisible characters.",
    )
    join_hyphenated_words: bool = Field(
        default=True,
        description="Join words that a line end has split (infor- mation), if the whole word occurs elsewhere in the "
        "document.",
    )
    remove_running_lines: bool = Field(
        default=True, description="PDF: remove page numbers, and all but the first of each running head and foot."
    )
    max_format_bytes: int = Field(
        default=2 << 20,
        ge=0,
        le=1 << 30,
        description="Larger texts are repaired but not formatted: formatting takes 1 to 10 seconds per MB.",
    )


def optimize(given: StageInput, options: OptimizeOptions) -> StageOutput:
    """Return the Markdown of stage 1 in normal form. Optimising the result again changes nothing."""
    # Takes 60 ms, which only a worker needs.
    from tasks.optimization.formatting import FORMATTER, Formatted, format_markdown

    text = given.first("markdown-conversion").read_bytes().decode("utf-8", "replace")
    header = _FRONT_MATTER.match(text)
    front_matter = header[0].rstrip("\n") + "\n" if header else ""
    body = text[header.end() :] if header else text
    before, kind = _count_words(body), _Kind.of(front_matter)
    repaired, counts = _repair(body, kind, options)
    size_bytes = len(repaired.encode("utf-8", "replace"))
    if kind.is_plain:
        formatted = Formatted(repaired, pieces=1, kept_for_proof=0, kept_for_size=0)
    else:
        formatted = format_markdown(repaired) if size_bytes <= options.max_format_bytes else None
    result = formatted.text if formatted else repaired
    separator = "\n" if front_matter and result else ""
    return StageOutput(
        content=f"{front_matter}{separator}{result}".encode("utf-8", "replace"),
        metadata={
            "guard": _guard(formatted),
            "words_before": before,
            "words_after": _count_words(result),
            "pieces": formatted.pieces if formatted else 0,
            "pieces_kept_for_proof": formatted.kept_for_proof if formatted else 0,
            "pieces_kept_for_size": formatted.kept_for_size if formatted else 0,
            **counts,
            "formatter": FORMATTER,
        },
        warnings=_warnings(formatted, size_bytes, options),
    )


@dataclass(frozen=True)
class _Kind:
    """What the document was: plain text, or a PDF of so many pages (0 for every other document)."""

    is_plain: bool = False
    pdf_pages: int = 0

    @classmethod
    def of(cls, front_matter: str) -> _Kind:
        try:
            fields: object = yaml.safe_load(front_matter.strip().strip("-")) if front_matter else None
        except (yaml.YAMLError, ValueError, RecursionError):
            return cls()
        header = cast(dict[Any, Any], fields) if isinstance(fields, dict) else {}
        pages = header.get("pages")
        return cls(
            is_plain=header.get("type") == _PLAIN_TEXT,
            pdf_pages=pages if header.get("type") == "pdf" and isinstance(pages, int) else 0,
        )


def _repair(body: str, kind: _Kind, options: OptimizeOptions) -> tuple[str, dict[str, int]]:
    """Return *body* repaired, and the metadata's counts of what was changed."""
    if options.repair_encoding:
        body = repair_characters(body)
    body = collapse_empty_lines(normalise_line_ends(body))
    removed = joined = 0
    if options.remove_running_lines:
        body, removed = remove_running_lines(body, kind.pdf_pages)
    if options.join_hyphenated_words and not kind.is_plain:
        body, joined = join_cut_words(body)
    return body, {"joined_words": joined, "removed_running_lines": removed}


def _guard(formatted: Formatted | None) -> str:
    if formatted is None:
        return "skipped"
    return "kept-original" if formatted.kept_for_proof else "passed"


def _warnings(formatted: Formatted | None, size_bytes: int, options: OptimizeOptions) -> tuple[str, ...]:
    if formatted is None:
        return (f"not formatted: {size_bytes} bytes exceed max_format_bytes ({options.max_format_bytes})",)
    return losses(Counter({"unproven": formatted.kept_for_proof, "large-passage": formatted.kept_for_size}))


def _count_words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


OPTIMIZE: Stage[OptimizeOptions] = Stage(
    number=2,
    name="markdown-optimizer",
    version="2",
    suffix=".opt.md",
    media_type="text/markdown",
    reads=(Read(any_of=("markdown-conversion",)),),
    options=OptimizeOptions,
    run=optimize,
)
