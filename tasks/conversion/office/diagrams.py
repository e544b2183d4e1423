"""Diagrams of Office documents (SmartArt, ECMA-376 part 1, 21.4) as lists; pure."""

from __future__ import annotations

from collections import defaultdict

from tasks.conversion.office.package import Element
from tasks.conversion.whole_numbers import whole_number

# A tree of a diagram that is deeper is a cycle of its connections.
_MAX_DIAGRAM_DEPTH = 20


def diagram_items(root: Element) -> list[tuple[int, str]]:
    """Return the texts of a diagram's points with their levels, in the order of its tree (21.4.3)."""
    texts: dict[str, str] = {}
    roots: list[str] = []
    for point in root.iter("{*}pt"):
        kind, identity = point.get("type", "node"), point.get("modelId", "")
        if kind in ("node", "asst"):
            texts[identity] = " ".join("".join(one.text or "" for one in point.iter("{*}t") if one.text).split())
        if kind == "doc":
            roots.append(identity)
    children: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for connection in root.iter("{*}cxn"):
        if connection.get("type", "parOf") == "parOf":
            place = whole_number(connection.get("srcOrd"))
            children[connection.get("srcId", "")].append((place, connection.get("destId", "")))
    found: list[tuple[int, str]] = []
    seen: set[str] = set()

    def visit(identity: str, level: int) -> None:
        if identity in seen or level > _MAX_DIAGRAM_DEPTH:
            return
        seen.add(identity)
        if texts.get(identity):
            found.append((level, texts[identity]))
        for _, child in sorted(children[identity]):
            visit(child, level + 1 if texts.get(identity) else level)

    for identity in [*roots, *texts]:
        visit(identity, 0)
    return found
