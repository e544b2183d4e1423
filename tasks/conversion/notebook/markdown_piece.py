"""A piece of Markdown from a document that is put between others: it ends where it ends; pure.

Owns the closing of what an author left open. An open code block or comment would take what follows into it.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")


def closed(markdown: str) -> str:
    """Return *markdown* with its last code block or comment closed."""
    fence = ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if not fence and mark:
            fence = mark[1]
        elif fence and mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
    if fence:
        return f"{markdown.rstrip(chr(10))}\n{fence}"
    if markdown.rfind("<!--") > markdown.rfind("-->"):
        return f"{markdown.rstrip(chr(10))} -->"
    return markdown
