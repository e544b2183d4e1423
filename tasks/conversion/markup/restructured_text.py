"""reStructuredText: read by docutils into HTML, and written as a page is.

Owns what docutils does not know by itself: roles and directives of Sphinx, of which the text is shown. Files that a
document includes are not read, and counted as lost.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blocks.errors import UnreadableDocument
from tasks.conversion.html.formulas import FORMULA
from tasks.conversion.html.lists import LABEL
from tasks.conversion.html.page import write_tree
from tasks.conversion.html.tree import Element, etree, parse, replace
from tasks.conversion.plain.reader import load_text
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.losses import losses

CONVERTER = f"docutils {version('docutils')}"

_SETTINGS = {
    # Nothing outside of the document is read, and no HTML of it is taken over.
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "record_dependencies": None,
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "math_output": "MathJax none.js",
    "syntax_highlight": "none",
    "toc_backlinks": False,
    "language_code": "en",
    "embed_stylesheet": False,
    "stylesheet": "",
    "stylesheet_path": "",
    "sectsubtitle_xform": False,
    "input_encoding": "unicode",
    "output_encoding": "unicode",
}
# What docutils is known to raise on documents that are nested thousands deep or refer to themselves.
_FAILURES = (RecursionError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
_ROLE = re.compile(r"(?<![\w`]):([A-Za-z][\w.+-]*(?::[A-Za-z][\w.+-]*)*):`")
_DIRECTIVE = re.compile(r"^[ \t]*\.\. (?:\|[^|\n]+\| )?([A-Za-z][\w.:+-]*?)[ \t]?::(?=[ \t\n]|\Z)", re.MULTILINE)
_EQUATION = re.compile(r"\A(?:\\\(|\\begin\{equation\*\}\s*)(.*?)(?:\\\)|\s*\\end\{equation\*\})\Z", re.DOTALL)
_TITLE_AND_TARGET = re.compile(r"\A!?~?(.*?)\s*<[^<>]+>\Z", re.DOTALL)
# The signs around the numbers of a list, by the class that carries them.
_SIGNS = {"in-brackets": "()", "before-bracket": ")"}
# Directives that show nothing in their place.
_SILENT = frozenset({"toctree", "index", "highlight", "currentmodule", "module", "tabularcolumns", "meta"})
_CODE = frozenset({"code-block", "sourcecode", "code", "parsed-code", "prompt", "doctest", "testcode"})
# Directives that put in what stands elsewhere.
_INCLUDES = frozenset({"include", "literalinclude", "automodule", "autoclass", "autofunction", "raw"})
_OWN = _SILENT | _CODE | _INCLUDES


def read_restructured_text(path: Path, shown: str) -> Reading:
    """Return the document as Markdown. Raises `UnreadableDocument`."""
    text, warnings = load_text(path, None)
    lost: Counter[str] = Counter()
    try:
        document, page = _published(text, lost)
    except _FAILURES as error:
        raise UnreadableDocument(
            f"{shown!r} could not be read as reStructuredText ({type(error).__name__}); it may be nested too deeply"
        ) from error
    root = parse(page.encode("utf-8", "replace"))
    if root is None:
        return Reading(body="", converter=CONVERTER)
    _as_html(root)
    written = write_tree(root)
    nodes: Any = import_module("docutils.nodes")
    info: dict[type, str] = {}
    for kind in (nodes.author, nodes.date):
        info[kind] = "; ".join(single_line(node.astext()) for node in document.findall(kind))
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=single_line(document.get("title") or "") or None,
        created=info[nodes.date] or None,
        fields={"author": info[nodes.author]} if info[nodes.author] else {},
        warnings=(*warnings, *written.warnings, *losses(lost)),
    )


def _published(text: str, lost: Counter[str]) -> tuple[Any, str]:
    """Return docutils' document, and the HTML of it."""
    core: Any = import_module("docutils.core")
    _register(text, lost)
    document = core.publish_doctree(text, settings_overrides=_SETTINGS)
    nodes: Any = import_module("docutils.nodes")
    for message in list(document.findall(nodes.system_message)):
        # The source of what could not be read, such as a table that is out of line.
        blocks = [child for child in message.children if isinstance(child, nodes.literal_block)]
        if blocks:
            message.replace_self(blocks)
            lost["part"] += 1
    for numbered in document.findall(nodes.enumerated_list):
        numbered["classes"] += [
            name for name in _SIGNS if numbered.get("prefix") + numbered.get("suffix") == _SIGNS[name]
        ]
    parts = core.publish_parts(
        document,
        reader=import_module("docutils.readers.doctree").Reader(),
        source_class=import_module("docutils.io").DocTreeInput,
        writer="html5",
        # The title of the document is its only heading of the first level.
        settings_overrides={**_SETTINGS, "initial_header_level": 2 if document.get("title") else 1},
    )
    return document, parts["html_body"]


def _register(text: str, lost: Counter[str]) -> None:
    """Make known to docutils the roles and directives in *text* that it does not know, and those that need more."""
    roles: Any = import_module("docutils.parsers.rst.roles")
    directives: Any = import_module("docutils.parsers.rst.directives")
    language: Any = import_module("docutils.parsers.rst.languages.en")
    for name in {found[1].lower() for found in _ROLE.finditer(text)}:
        if name not in language.roles:
            roles.register_local_role(name, _role)
    for name in {found[1].lower() for found in _DIRECTIVE.finditer(text)}:
        if name in _OWN or name not in language.directives:
            directives.register_directive(name, _directive(lost))


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> Any:
    """Return the text of a role of Sphinx: the title of a reference, the name of an object."""
    nodes: Any = import_module("docutils.nodes")
    text = import_module("docutils.utils").unescape(text)
    found = _TITLE_AND_TARGET.match(text)
    shown = found[1] if found else text.lstrip("!")
    if name == "math":
        return [nodes.math(rawtext, text)], []
    if shown.startswith("~"):
        shown = shown.rpartition(".")[2].lstrip("~")
    kind = nodes.inline if found or name in ("ref", "doc", "term", "abbr", "numref", "any") else nodes.literal
    return [kind(rawtext, shown)], []


class _AnyOption(dict[str, Any]):
    """Options of a directive, whatever they are called."""

    def __missing__(self, key: str) -> Any:
        return lambda argument: argument  # pyright: ignore[reportUnknownLambdaType, reportUnknownVariableType]


def _directive(lost: Counter[str]) -> type[Any]:
    """Return a directive that shows its argument and its content."""
    rst: Any = import_module("docutils.parsers.rst")
    nodes: Any = import_module("docutils.nodes")

    class Shown(rst.Directive):
        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = _AnyOption({"": None})

        def run(self) -> list[Any]:
            argument = self.arguments[0] if self.arguments else ""
            if self.name in _INCLUDES:
                lost["included-file"] += 1
                return []
            if self.name in _SILENT:
                return []
            if self.name in _CODE:
                text = "\n".join(self.content)
                block = nodes.literal_block(
                    text, text, classes=["code", *([f"language-{argument}"] if argument else [])]
                )
                caption = self.options.get("caption")
                return [*([nodes.paragraph("", caption)] if caption else []), block]
            container = nodes.container()
            if argument:
                inline, messages = self.state.inline_text(argument, self.lineno)
                container += [nodes.paragraph(argument, "", *inline), *messages]
            self.state.nested_parse(self.content, self.content_offset, container)
            return [container]

    return Shown


def _as_html(root: Element) -> None:
    """Make what docutils marks by classes the elements of HTML that say so: code, formulas, lines of a paragraph."""
    for numbered in root.iter("ol"):
        for name in (numbered.get("class") or "").split():
            if name in _SIGNS:
                numbered.set(LABEL, f"{_SIGNS[name][:-1]}{{}}{_SIGNS[name][-1]}")
    for element in list(root.iter("span", "div")):
        classes = (element.get("class") or "").split()
        if "literal" in classes:
            element.tag = "code"
        elif "math" in classes:
            formula = _EQUATION.sub(r"\1", "".join(element.itertext()).strip())
            replace(element, FORMULA, formula.strip(), display="block" if element.tag == "div" else "inline")
        elif classes[:1] == ["line-block"]:
            element.tag = "p"
        elif classes[:1] == ["line"]:
            element.tag = "span"
            if element.getnext() is not None:
                element.append(etree.Element("br"))
