"""Flowed text in mails, put together again (RFC 3676); pure.

Owns the order of that standard: the depth of quotation is counted first, then a stuffed blank is removed, then a line
that ends in a blank goes on in the next one. The line of a signature ends in a blank and never goes on.
"""

from __future__ import annotations

import re

_QUOTE = re.compile(r">*")
_SIGNATURE = "-- "


def unflowed(text: str, *, deletes_space: bool) -> str:
    """Return *text* with each paragraph on one line, quoted ones after ``> `` for each level.

    *deletes_space* is the parameter DelSp: the blank at a line's end is not part of the text.
    """
    lines: list[str] = []
    depth_above, flows = 0, False
    for line in text.split("\n"):
        mark = _QUOTE.match(line)
        depth = mark.end() if mark else 0
        content = line[depth:].removeprefix(" ")
        is_signature = content == _SIGNATURE
        # An empty line ends a paragraph, also behind a line that should go on: programs mean it so.
        if flows and depth == depth_above and content and not is_signature:
            lines[-1] += content
        else:
            lines.append(f"{'> ' * depth}{content}")
        flows = content.endswith(" ") and not is_signature
        depth_above = depth
        if flows and deletes_space:
            lines[-1] = lines[-1][:-1]
    return "\n".join(line if line.endswith(_SIGNATURE) else line.rstrip(" ") for line in lines)
