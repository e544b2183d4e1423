"""Environments of LaTeX: lists, tables, code, formulas, figures, quotations, theorems, and those of the author."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks.conversion.html.lists import LABEL, written_number
from tasks.conversion.html.tree import Element
from tasks.conversion.tex import tables
from tasks.conversion.tex.source import Definitions, Macro, Source

if TYPE_CHECKING:
    from tasks.conversion.tex.reader import Document

_NUMBERED = frozenset({"equation", "align", "gather", "multline", "eqnarray", "alignat", "flalign"})
_UNWRAPPED = frozenset({"displaymath", "math"})
_FORMULAS = _NUMBERED | _UNWRAPPED
# Name of a table's environment, and the arguments in front of its rows.
_TABLES = {
    **dict.fromkeys(("tabular", "longtable", "supertabular", "tblr", "longtblr"), 1),
    **dict.fromkeys(("tabular*", "tabularx", "tabulary", "xltabular"), 2),
}
_CODE = frozenset({"verbatim", "verbatim*", "Verbatim", "lstlisting", "minted", "alltt", "BVerbatim", "LVerbatim"})
_LISTS = frozenset({"itemize", "enumerate", "description", "list", "compactitem", "compactenum", "inparaenum", "tasks"})
_QUOTES = frozenset({"quote", "quotation", "verse", "displayquote"})
_DRAWINGS = frozenset({"tikzpicture", "pgfpicture", "picture", "asy", "forest", "circuitikz", "tikzcd", "pspicture"})
_NOT_SHOWN = frozenset({"comment", "filecontents", "filecontents*", "CCSXML"})
_FLOATS = {
    **dict.fromkeys(("figure", "wrapfigure", "sidewaysfigure"), "figure"),
    **dict.fromkeys(("table", "wraptable", "sidewaystable"), "table"),
}
# Arguments of environments that are no text.
_ARGUMENTS = {
    **dict.fromkeys(("minipage", "multicols", "adjustbox", "otherlanguage", "column", "subfigure", "subtable"), 1),
    **dict.fromkeys(("wrapfigure", "wraptable"), 2),
}
_LABELS = ("{}.", "({})", "{}.", "{}.")
_KINDS = ("1", "a", "i", "A")
_LABEL_OPTION = re.compile(r"(?:label\s*=\s*)?(\{?[^,{}=]*?)\\?(arabic|alph|Alph|roman|Roman)\*([^,{}]*)\}?")
_SHORT_LABEL = re.compile(r"([^\w]*)([1aAiI])([^\w]*)\Z")
_NUMERALS = {"arabic": "1", "alph": "a", "Alph": "A", "roman": "i", "Roman": "I"}
_LABEL = re.compile(r"\\label\s*\{([^{}]*)\}\s*")
_START = re.compile(r"start\s*=\s*(\d+)")
_THEOREM = "\\theorem@waybill "


def begin(document: Document, name: str) -> None:
    """Read an environment whose name was read, to its end."""
    source, plain = document.source, name.rstrip("*")
    if name in _CODE:
        _code(document, name)
    elif plain in _FORMULAS:
        _formula(document, name, plain)
    elif name in _TABLES:
        _table(document, name)
    elif name in _LISTS:
        _list(document, name)
    elif name == "thebibliography":
        _bibliography(document)
    elif name in _DRAWINGS:
        source.environment(name)
        document.lost["diagram"] += 1
    elif name in _NOT_SHOWN:
        source.environment(name)
    elif name in document.definitions.environments:
        _own(document, name)
    else:
        _around(document, name, plain)


def _around(document: Document, name: str, plain: str) -> None:
    """Read an environment that is only around text."""
    source, output = document.source, document.output
    option = source.option()
    for _ in range(_ARGUMENTS.get(plain, 0)):
        source.argument()
    tag = "blockquote" if name in _QUOTES else "figure" if plain in _FLOATS else "div"
    element = output.open(tag, **({"kind": _FLOATS[plain]} if plain in _FLOATS else {}))
    if name == "frame" and source.peek() == "{":
        document.fill(output.open("h2"), source.argument())
        output.close(output.top)
    elif name == "proof":
        output.add("em", f"{option or 'Proof'}.")
        output.text(" ")
    document.run(name)
    output.close(element)


def _code(document: Document, name: str) -> None:
    source = document.source
    option = source.option() or "" if name not in ("verbatim", "verbatim*") else ""
    language = source.argument() if name == "minted" else ""
    found = re.search(r"language\s*=\s*(?:\[[^\]]*\])?\{?([\w+#-]+)", option)
    language = language or (found[1].lower() if found else "")
    text = source.until(f"\\end{{{name}}}").strip("\n")
    element = document.output.add("pre", text)
    if language:
        element.set("data-language", language)


def _formula(document: Document, name: str, plain: str) -> None:
    body = document.source.environment(name).strip()
    if plain in _NUMBERED and not name.endswith("*"):
        body = _counted(document, body, by_line=plain not in ("equation", "multline"))
    wrapped = body if plain in _UNWRAPPED else f"\\begin{{{name}}}\n{body}\n\\end{{{name}}}"
    document.formula(wrapped, display=plain != "math")


def _counted(document: Document, body: str, *, by_line: bool) -> str:
    """Count a formula, or each of its lines, and return it without labels: these mean the number of their line."""
    for line in re.split(r"\\\\", body) if by_line else [body]:
        if not re.search(r"\\(?:nonumber|notag)\b", line):
            document.references.step("equation")
        for label in _LABEL.finditer(line):
            document.references.label(label[1])
    return _LABEL.sub("", body)


def _table(document: Document, name: str) -> None:
    source = document.source
    if name in ("longtable", "supertabular", "tblr", "longtblr", "tabular"):
        source.option()
    for _ in range(_TABLES[name]):
        source.argument()
        source.option()
    body = source.environment(name)
    document.output.end_paragraph()
    caption = re.search(r"\\caption\*?", body)
    if caption:
        inner = Source(body[caption.end() :], document.definitions)
        inner.option()
        text = inner.argument()
        inner.take(re.compile(r"\s*(?:\\label\{[^{}]*\})?\s*\\\\"))
        element = document.output.open("figcaption")
        number = document.references.step("table")
        document.fill(element, f"{document.references.name('table')} {number}: {text}")
        document.output.close(element)
        body = body[: caption.start()] + inner.rest()
    for label in re.findall(r"\\label\{([^{}]*)\}", body):
        document.references.label(label)
    body = re.sub(r"\\label\{[^{}]*\}", "", body)
    tables.build(document.output.top, body, document.definitions, document.fill)


def _list(document: Document, name: str) -> None:
    source, output = document.source, document.output
    options = source.option() or ""
    if name == "list":
        source.argument()
        source.argument()
    ordered = "enum" in name
    tag = "ol" if ordered else "dl" if name == "description" else "ul"
    level = document.list_depth
    document.list_depth += ordered
    kind, label = _KINDS[min(level, 3)], _LABELS[min(level, 3)]
    if found := _LABEL_OPTION.search(options):
        kind, label = _NUMERALS[found[2]], f"{found[1].lstrip('{').rstrip(chr(92))}{{}}{found[3]}"
    elif ordered and (short := _SHORT_LABEL.match(options)):
        kind, label = short[2], f"{short[1]}{{}}{short[3]}"
    start = _START.search(options)
    element = output.open(tag, type=kind, start=start[1] if start else "1")
    element.set(LABEL, label)
    document.run(name)
    output.close(element)
    if ordered:
        document.list_depth -= 1


def item(document: Document) -> None:
    """Begin an item of the innermost list."""
    source, output = document.source, document.output
    parent = _innermost(output.top, ("ul", "ol", "dl"))
    if parent is None:
        return
    source.take(re.compile(r"<[^<>]*>"))
    label = source.option()
    while output.top is not parent:
        output.close(output.top)
    if parent.tag == "dl":
        document.fill(output.open("dt"), label or "")
        output.close(output.top)
        output.open("dd")
        return
    element = output.open("li")
    if parent.tag == "ol":
        number = int(parent.get("start")) + sum(1 for one in parent if one.tag == "li" and one.get("own") is None) - 1
        own = (
            label if label is not None else parent.get(LABEL).replace("{}", written_number(number, parent.get("type")))
        )
        element.set(LABEL, own.strip())
        if label is not None:
            element.set("own", "")
        document.references.at("item", own.rstrip("."))
    elif label and label.strip(" -–*•$\\{}") and not label.startswith("\\"):
        document.fill(output.open("span"), label)
        output.close(output.top)
        output.text(" ")


def start_list_at(document: Document, number: int) -> None:
    parent = _innermost(document.output.top, ("ol",))
    if parent is not None:
        parent.set("start", str(number - sum(1 for one in parent if one.tag == "li")))


def float_around(document: Document) -> str:
    """Return what kind of float the place is in; empty outside of one."""
    figure = _innermost(document.output.top, ("figure",))
    return "" if figure is None else figure.get("kind") or ""


def _innermost(element: Element, tags: tuple[str, ...]) -> Element | None:
    while element is not None and element.tag not in tags:
        element = element.getparent()
    return element


def _bibliography(document: Document) -> None:
    """Read a list of references, whose numbers citations show."""
    source, output = document.source, document.output
    source.argument()
    parts = re.split(r"\\bibitem(?![A-Za-z])", source.environment("thebibliography"))[1:]
    for number, part in enumerate(parts, 1):
        entry = Source(part, document.definitions)
        label = entry.option()
        shown = label or str(number)
        document.references.cite_as(entry.argument(), shown)
        element = output.open("p")
        document.fill(element, f"[{shown}] " + re.sub(r"\\newblock\b", " ", entry.rest()).strip())
        output.close(element)


def _own(document: Document, name: str) -> None:
    macro, end = document.definitions.environments[name]
    source = document.source
    if macro.body.startswith(_THEOREM):
        option = source.option()
        title = f"{macro.body[len(_THEOREM) :]} {document.references.step(name)}"
        element = document.output.open("div")
        document.fill(document.output.open("strong"), f"{title}{f' ({option})' if option else ''}.")
        document.output.close(document.output.top)
        document.output.text(" ")
        document.run(name)
        document.output.close(element)
        return
    opening = source.expansion(macro)
    body = source.environment(name)
    source.push(f"{opening}{body}{end}")


def define_theorem(definitions: Definitions, source: Source) -> None:
    """Read what follows \\newtheorem."""
    name = source.argument().strip()
    source.option()
    definitions.environments[name] = (Macro(_THEOREM + source.argument()), "")
    source.option()
