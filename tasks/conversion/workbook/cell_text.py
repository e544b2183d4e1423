"""Texts of cells as Markdown on one line, plain or of several formats; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.conversion.markdown_writer import Run, cell, inline
from tasks.conversion.office.package import Element
from tasks.conversion.reading import clean_text

# ECMA-376 part 1, 22.9.2.19: a character that XML cannot hold, or the underscore of what only looks like one.
_CODED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_NEEDS_CARE = re.compile(r"[\\`*\[\]<&~_|]")
_POSITIONS = {"superscript": "raised", "subscript": "lowered"}


def plain_cell(text: str) -> str:
    """Return *text* as the Markdown of a cell."""
    if text.isprintable() and not _NEEDS_CARE.search(text):
        return text.strip()
    return runs_cell([Run(text=text)])


def runs_cell(runs: Iterable[Run]) -> str:
    """Return *runs* as the Markdown of a cell."""
    cleaned = [Run(text=clean_text(run.text), position=run.position, struck=run.struck, link=run.link) for run in runs]
    return cell(inline(cleaned))


def decoded(text: str) -> str:
    """Return *text* with the characters that a workbook writes as ``_x000D_``."""
    return _CODED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def rich_text(item: Element) -> str:
    """Return the Markdown of a text item (``si``, ``is``): its runs, without the readings of its signs."""
    runs: list[Run] = []
    for part in item:
        name = part.tag.rpartition("}")[2]
        if name == "t":
            runs.append(Run(text=decoded(part.text or "")))
        elif name == "r":
            runs.append(_run(part))
    if all(not run.position and not run.struck for run in runs):
        return plain_cell("".join(run.text for run in runs))
    return runs_cell(runs)


def _run(element: Element) -> Run:
    text = "".join(one.text or "" for one in element.iterfind("{*}t"))
    moved = element.find("{*}rPr/{*}vertAlign")
    return Run(
        text=decoded(text),
        position=_POSITIONS.get(moved.get("val", ""), "") if moved is not None else "",  # pyright: ignore[reportArgumentType]
        struck=is_on(element.find("{*}rPr/{*}strike")),
    )


def is_on(flag: Element | None) -> bool:
    """Return whether an element that switches something on is there and not ``val="0"``."""
    return flag is not None and flag.get("val", "1") not in ("0", "false", "off")


def linked(text: str, target: str) -> str:
    """Return a cell's Markdown as a link, unless its text is the address."""
    address = target.removeprefix("mailto:").rstrip("/")
    if text.rstrip("/") in (address, plain_cell(address)) or "](" in text:
        return text
    return cell(inline([Run(text=text, markdown=True, link=target)]))


def struck(text: str) -> str:
    """Return a cell's Markdown struck out."""
    return cell(inline([Run(text=text, markdown=True, struck=True)]))
