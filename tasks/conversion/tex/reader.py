"""LaTeX documents: preamble, text, and the commands that are neither structure nor environments.

Owns what each command of ordinary documents shows. A command that is not known shows its arguments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from blocks.errors import UnreadableDocument
from tasks.conversion.formulas.latex_symbols import SIGNS
from tasks.conversion.html.page import write_tree
from tasks.conversion.html.tree import Element, etree
from tasks.conversion.plain.reader import load_text
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.conversion.tex import actions, environments
from tasks.conversion.tex.commands import (
    CITES,
    DECLARATIONS,
    FILES,
    NOTES,
    PARAGRAPH_ENDS,
    QUANTITIES,
    REFERENCES,
    SECTIONS,
    SILENT,
    SKIPS,
    STYLES,
)
from tasks.conversion.tex.output import Output
from tasks.conversion.tex.references import References
from tasks.conversion.tex.signs import GERMAN, NAMED, is_accent
from tasks.conversion.tex.source import Definitions, Source, define, expanded
from tasks.losses import losses

CONVERTER = "waybill-latex 1"

# A group takes three frames of Python's 1,000.
_MAX_DEPTH = 120
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_END = re.compile(r"\\end\s*\{document\}")
_ONE_SIGN = re.compile(r".", re.DOTALL)
_DASHES = re.compile(r"-+")
_MATH_END = re.compile(r"((?:[^$\\]|\\.)*)\$", re.DOTALL)
_DISPLAY_END = re.compile(r"((?:[^$\\]|\\.)*)\$\$", re.DOTALL)
# Formulas that only raise or lower a word, and those of a single sign, are part of the text: 10$^{3}$ N, 5 $\\mu$m.
_MOVED = re.compile(
    r"(?:\{\})?([\^_])\s*(?:\{(?:\\(?:text|mathrm|rm)\s*\{)?([\w+,.*†-]{1,20})\}{1,2}|(\w)|\{?\\circ\s*\}?)"
)
_SIGN = re.compile(r"\\([A-Za-z]+)|([<>=+~|-])")
_LABEL = re.compile(r"\\label\s*\{([^{}]*)\}\s*")
_OVERLAY = re.compile(r"<[\d,+.|-]*>")


def read_latex(path: Path, shown: str) -> Reading:
    """Return the document as Markdown, with title, authors and date of its preamble. Raises `UnreadableDocument`."""
    text, warnings = load_text(path, None)
    try:
        document = Document(text)
    except RecursionError as error:
        raise UnreadableDocument(f"{shown!r} (LaTeX document) is nested too deeply to be read; simplify it") from error
    written = write_tree(document.root)
    about = document.about
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=single_line(about["title"]) or None if "title" in about else None,
        created=single_line(about["date"]) or None if "date" in about else None,
        fields={"author": authors} if (authors := single_line(about.get("author", ""))) else {},
        warnings=(*warnings, *written.warnings, *losses(document.lost)),
    )


class Document:
    """Reads one document into a tree, whose root is `root`."""

    def __init__(self, text: str) -> None:
        self.root = etree.Element("html")
        self.body = etree.SubElement(self.root, "body")
        self.lost: Counter[str] = Counter()
        self.references = References()
        self.definitions = Definitions()
        self.about: dict[str, str] = {}
        self.german = False
        self.top_section = "chapter" if re.search(r"\\chapter\*?\s*[\[{]", text) else "section"
        self.titled = False
        self.list_depth = 0
        self._parts: dict[str, str] = {}
        self.notes: list[Element] = []
        self._depth = 0
        begin, end = _BEGIN.search(text), _END.search(text)
        if begin:
            self._read_preamble(text[: begin.start()])
            text = text[begin.end() : end.start() if end and end.start() > begin.end() else None]
        self.source = Source(text, self.definitions)
        self.output = Output(self.body)
        self.run("")
        self.output.close_to(1)
        self.body.extend(self.notes)
        self.references.resolve()

    def _read_preamble(self, text: str) -> None:
        options = " ".join(re.findall(r"\\(?:usepackage|documentclass)\s*\[([^\]]*)\]", text))
        for language in ("german", "french", "spanish"):
            if language in options:
                self.references.language = language
        self.german = self.references.language == "german"
        source = Source(text, self.definitions)
        while sign := source.token():
            name = sign[1:]
            if sign[0] != "\\" or define(source, name):
                continue
            if name in ("title", "author", "date", "subtitle"):
                source.option()
                self.set_part(name, source.argument())
            elif name == "newtheorem":
                source.star()
                environments.define_theorem(self.definitions, source)

    def set_part(self, name: str, latex: str) -> None:
        """Keep the title, the authors or the date for the header and for \\maketitle."""
        self._parts[name] = latex
        place = etree.Element("p")
        plain = re.sub(r"\\(?:thanks|footnote)\s*\{(?:[^{}]|\{[^{}]*\})*\}", "", latex)
        notes, self.notes = self.notes, []
        self.fill(place, re.sub(r"\s*\\and\b\s*", "; ", re.sub(r"\\\\(?:\[[^\]]*\])?", " ", plain)))
        self.notes = notes
        self.about[name] = "".join(place.itertext())

    def make_title(self) -> None:
        """Add the title page: title, authors and date."""
        for name, tag in (("title", "h1"), ("subtitle", "p"), ("author", "p"), ("date", "p")):
            if self.about.get(name, "").strip():
                self.output.end_paragraph()
                self.fill(self.output.open(tag), re.sub(r"\s*\\and\b\s*", "; ", self._parts[name]))
                self.output.close(self.output.top)
                self.titled = self.titled or name == "title"

    # Reading

    def fill(self, element: Element, latex: str) -> None:
        """Write *latex* into *element*."""
        source, output = getattr(self, "source", None), getattr(self, "output", None)
        self._depth += 1
        if self._depth <= _MAX_DEPTH:
            self.source, self.output = Source(latex, self.definitions), Output(element)
            self.run("")
            self.output.close_to(1)
        else:
            element.text = latex
        self._depth -= 1
        if source is not None and output is not None:
            self.source, self.output = source, output

    def run(self, until: str) -> None:
        """Read up to the end of the group ("}"), of the environment of that name, or of the source ("")."""
        while sign := self.source.token():
            first = sign[0]
            if first == "\\" and len(sign) > 1:
                if self._command(sign[1:], until):
                    return
            elif sign == "{":
                self._group()
            elif sign == "}":
                if until == "}":
                    return
            elif sign == "$":
                self._dollars()
            else:
                self._signs(sign)

    def _group(self) -> None:
        depth = self.output.depth
        self._depth += 1
        if self._depth <= _MAX_DEPTH:
            self.run("}")
            if self.output.top.tag in ("strong", "em", "code") and self.output.depth > depth:
                self.output.close_to(depth if depth > 1 else 2)
        self._depth -= 1

    def _signs(self, sign: str) -> None:
        source, output = self.source, self.output
        if sign == "~":
            output.text("\u00a0")
        elif sign == "-":
            more = source.take(_DASHES)
            output.text({1: "-", 2: "–"}.get(1 + len(more[0] if more else ""), "—"))
        elif sign == "`":
            output.text("“" if source.take(re.compile("`")) else "‘")
        elif sign == "'":
            output.text("”" if source.take(re.compile("'")) else "’")
        elif sign == '"' and self.german and source.peek() in GERMAN and (letter := source.take(_ONE_SIGN)):
            output.text(GERMAN[letter[0]])
        elif sign in ("?", "!") and source.take(re.compile("`")):
            output.text("¿" if sign == "?" else "¡")
        elif sign == "\n" or "\n" in sign:
            blank = source.take(re.compile(r"[ \t]*\n\s*"))
            if blank:
                output.end_paragraph()
            else:
                output.text(" ")
        else:
            output.text(sign)

    def _dollars(self) -> None:
        if self.source.peek() == "$":
            self.source.token()
            found = self.source.take(_DISPLAY_END)
            if found:
                self.formula(found[1], display=True)
        elif found := self.source.take(_MATH_END):
            self.formula(found[1], display=False)
        else:
            self.output.text("$")

    def formula(self, latex: str, *, display: bool) -> None:
        """Add a formula; its labels mean the number that it was counted with."""
        for label in _LABEL.finditer(latex):
            self.references.label(label[1])
        latex = expanded(_LABEL.sub("", latex), self.definitions)
        latex = re.sub(r"\n\s*\n", "\n", latex).strip()
        moved, sign = _MOVED.fullmatch(latex), _SIGN.fullmatch(latex)
        if display or not (moved or sign):
            pass
        elif moved:
            raised = moved[2] or moved[3] or "°"
            if raised == "°":
                self.output.text(raised)
            else:
                self.output.add("sup" if moved[1] == "^" else "sub", raised)
            return
        elif sign and (text := SIGNS.get(sign[1] or "", sign[2])):
            self.output.text(text)
            return
        if latex:
            self.output.add("formula", latex, display="block" if display else "inline")

    # Commands

    def _command(self, name: str, until: str) -> bool:
        """Do a command; return whether it ends the environment *until*."""
        if name == "end":
            environment = self.source.argument().strip()
            return environment == until
        if name == "begin":
            environments.begin(self, self.source.argument().strip())
        elif name in self.definitions.commands and self.source.expand(name):
            return False
        elif name in _COMMANDS:
            _COMMANDS[name](self)
        elif is_accent(name):
            actions.accent(self, name)
        elif name in NAMED:
            self.output.text(NAMED[name])
            if name.isalpha():
                self.source.take(re.compile(r"\{\}"))
        else:
            self._command_with_arguments(name)
        return False

    def _command_with_arguments(self, name: str) -> None:
        source = self.source
        if name in STYLES:
            actions.styled(self, STYLES[name])
        elif name in DECLARATIONS:
            self.output.open(DECLARATIONS[name])
        elif name in SECTIONS:
            actions.section(self, name)
        elif name in NOTES:
            actions.note(self)
        elif name in REFERENCES:
            source.star()
            for label in source.argument().split(","):
                self.references.wait(self.output.add("span"), name, label)
        elif CITES.fullmatch(name):
            actions.cite(self, name)
        elif name in QUANTITIES:
            actions.quantity(self, name)
        elif name in FILES:
            source.option()
            if name != "printbibliography":
                source.argument()
            self.lost["included-file"] += 1
        elif define(source, name):
            return
        elif name in SILENT:
            source.star()
            source.option()
            for _ in range(SILENT[name]):
                source.argument()
        elif name in ("title", "author", "date", "subtitle"):
            source.option()
            self.set_part(name, source.argument())
        else:
            self._unknown(name)

    def _unknown(self, name: str) -> None:
        """Show the arguments of a command, without what stands in front of the one that is text."""
        source = self.source
        source.star()
        source.take(_OVERLAY)
        source.option()
        for _ in range(SKIPS.get(name, 0)):
            source.option()
            source.argument()
        source.option()


_COMMANDS: dict[str, Callable[[Document], None]] = {
    "verb": actions.verb,
    "lstinline": actions.listing,
    "mintinline": actions.minted,
    "url": actions.address,
    "href": actions.link,
    "includegraphics": actions.image,
    "caption": actions.caption,
    "captionof": actions.caption,
    "\\": actions.line_end,
    "newline": actions.line_end,
    "(": actions.inline_math,
    "[": actions.display_math,
    "ensuremath": actions.ensure_math,
    "frametitle": actions.frame_title,
    "label": actions.label,
    "enquote": actions.quoted,
    "item": actions.item,
    "setcounter": actions.counter,
    "iffalse": actions.conditional,
    "todo": actions.remark,
    "maketitle": Document.make_title,
    **dict.fromkeys(PARAGRAPH_ENDS, actions.end_paragraph),
}
