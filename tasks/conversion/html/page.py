"""A whole HTML tree as Markdown, with what was lost; the order of the steps is owned here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.conversion.html.formulas import find_formulas
from tasks.conversion.html.nesting import MAX_PARSED_DEPTH, depth, without_nesting
from tasks.conversion.html.notes import Notes
from tasks.conversion.html.tree import (
    MAX_DEPTH,
    Element,
    drop_hidden,
    drop_never_text,
    drop_selected,
    flatten_below,
    lift_definitions,
    parse,
)
from tasks.conversion.html.writer import Writer
from tasks.losses import losses


@dataclass(frozen=True)
class Written:
    """The Markdown of a tree and the warnings about it."""

    markdown: str
    warnings: tuple[str, ...]


def write_page(page: bytes, exclude_selectors: Sequence[str]) -> Written:
    """Return a UTF-8 *page* as Markdown."""
    deepest = depth(page)
    root = parse(without_nesting(page) if deepest > MAX_PARSED_DEPTH else page)
    return Written("", ()) if root is None else write_tree(root, exclude_selectors, deepest)


def write_tree(root: Element, exclude_selectors: Sequence[str] = (), deepest: int = 0) -> Written:
    """Return *root* as Markdown. The tree is changed. *deepest* is how deep it was, if more than it is now."""
    deepest = max(deepest if deepest > MAX_PARSED_DEPTH else 0, flatten_below(root, MAX_DEPTH))
    written = _write(root, exclude_selectors)
    if deepest <= MAX_DEPTH:
        return written
    warning = f"the page is nested {deepest} levels deep; below level {MAX_DEPTH} only its text was kept"
    return Written(written.markdown, (*written.warnings, warning))


def _write(root: Element, exclude_selectors: Sequence[str]) -> Written:
    lost: Counter[str] = Counter()
    base = next((one.get("href") for one in root.iter("base") if one.get("href")), "")
    find_formulas(root, lost)
    drop_never_text(root)
    lift_definitions(root)
    notes = Notes(root)
    unknown = drop_selected(root, exclude_selectors)
    lost["hidden-text"] += drop_hidden(root)
    writer = Writer(root, notes, base)
    body = root.find("body")
    text = writer.markdown(root if body is None else body)
    definitions = notes.definitions(writer.markdown)
    lost.update(writer.lost)
    lost["note"] += notes.missing
    warnings = list(losses(lost))
    warnings += [f"the selector {selector[:80]!r} is not a CSS selector and left nothing out" for selector in unknown]
    return Written("\n\n".join(filter(None, (text, *definitions))), tuple(warnings))
