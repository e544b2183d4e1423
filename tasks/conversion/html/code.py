"""Code of pages, word for word: its lines, and the language that the page names; pure."""

from __future__ import annotations

import re

from tasks.conversion.html.tree import Element, etree

_LANGUAGE = re.compile(
    r"(?:^|\s)(?:(?:language|highlight|highlight-source|src)-|sourceCode |brush: ?|lang-(?=\w+\Z))([\w+#.-]{1,30})"
)
_NO_LANGUAGE = frozenset({"default", "none", "text", "plaintext", "plain", "notranslate", "nohighlight", "highlight"})


def code_text(element: Element) -> str:
    """Return code with its line ends, without the numbers of its lines."""
    parts: list[str] = []
    for event, node in etree.iterwalk(element, events=("start", "end")):
        if event == "end":
            if node is not element and node.tail:
                parts.append(node.tail)
        elif node.tag == "br":
            parts.append("\n")
        else:
            if node.tag == "sup":
                parts.append("^")
            if not re.search(r"\b(?:linenos?|lineno|line-number)\b", node.get("class") or ""):
                parts.append(node.text or "")
    return "".join(parts)


def language(element: Element) -> str:
    """Return the language that the page names for a block of code; empty if it names none."""
    for node in (*element.iter("code"), element):
        names = (node.get("data-lang"), node.get("data-language"), node.get("lang") if node.tag == "pre" else None)
        for name in names:
            if name and re.fullmatch(r"[\w+#.-]{1,30}", name):
                return name
    around = [ancestor for ancestor, _ in zip(element.iterancestors(), range(8), strict=False)]
    for node in (*element.iter("code"), element, *around):
        for found in _LANGUAGE.finditer(node.get("class") or ""):
            name = found[1].removeprefix("source-")
            if name.lower() not in _NO_LANGUAGE:
                return name
    return ""
