"""Formulas of Office documents (Office Math, ECMA-376 part 1, 22.1) as LaTeX; pure.

Word and PowerPoint write them the same way. What has no LaTeX of its own (boxes, phantoms) gives its content; an accent
that LaTeX lacks is left out, and the formula counts as `doubtful`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.conversion.formulas.latex_signs import ACCENTS, DELIMITERS, function, joined, math_text, plain_words
from tasks.conversion.formulas.latex_symbols import FUNCTIONS
from tasks.conversion.office.package import Element

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_VAL = f"{MATH}val"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
# Deleted text, and what a formula is not made of.
_SKIPPED = frozenset(
    {f"{_WORD}{name}" for name in ("del", "moveFrom", "rPr", "bookmarkStart", "bookmarkEnd", "proofErr", "delText")}
    | {f"{MATH}{name}" for name in ("ctrlPr", "argPr", "rPr", "oMathParaPr", "sSupPr", "sSubPr", "funcPr", "boxPr")}
    | {f"{_DRAWING}rPr"}
)
_MAX_DEPTH = 60
_NEXT_ROW = r" \\ "
_NAME = re.compile(r"[A-Za-z]+")
_SCRIPTS = {"double-struck": "mathbb", "script": "mathcal", "fraktur": "mathfrak", "sans-serif": "mathsf"}


@dataclass(slots=True)
class Formula:
    """A formula as LaTeX, without its dollars; `doubtful` if something in it is not known."""

    latex: str
    doubtful: bool


def read_formula(element: Element) -> Formula:
    """Return the formula of an `m:oMath` element (or of what holds one)."""
    reader = _Reader()
    latex = " ".join(reader.content(element).split())
    return Formula(latex, reader.doubtful)


class _Reader:
    def __init__(self) -> None:
        self.doubtful = False
        self._depth = 0

    def content(self, element: Element | None) -> str:
        """Return the LaTeX of everything in *element*."""
        if element is None or self._depth > _MAX_DEPTH:
            self.doubtful = self.doubtful or element is not None
            return ""
        self._depth += 1
        try:
            return joined([self._read(child) for child in element])
        finally:
            self._depth -= 1

    def _read(self, element: Element) -> str:
        if not isinstance(element.tag, str) or element.tag in _SKIPPED:
            return ""
        if (read := _READERS.get(element.tag.removeprefix(MATH))) is not None and element.tag.startswith(MATH):
            return read(self, element)
        if element.tag in (f"{_WORD}r", f"{_DRAWING}r"):
            return plain_words("".join(_texts(element)))
        return self.content(element)

    def _argument(self, element: Element, name: str = "e") -> str:
        return self.content(element.find(f"{MATH}{name}"))

    def run(self, element: Element) -> str:
        text = "".join(_texts(element))
        properties = element.find(f"{MATH}rPr")
        if not text:
            return ""
        if properties is None:
            return math_text(text)
        if _on(properties.find(f"{MATH}nor")):
            return plain_words(text) if text.strip() else "\\ "
        latex, style, script = math_text(text), _value(properties, "sty"), _value(properties, "scr")
        if script in _SCRIPTS:
            return f"\\{_SCRIPTS[script]}{{{latex}}}"
        if style in ("b", "bi") and text.strip():
            return f"\\mathbf{{{latex}}}" if style == "b" else f"\\boldsymbol{{{latex}}}"
        if style == "p" and _NAME.fullmatch(text) and len(text) > 1:
            return function(text) if text in FUNCTIONS else f"\\mathrm{{{latex}}}"
        return latex

    def fraction(self, element: Element) -> str:
        top, bottom = self._argument(element, "num"), self._argument(element, "den")
        kind = _value(element.find(f"{MATH}fPr"), "type")
        if kind == "noBar":
            return f"\\genfrac{{}}{{}}{{0pt}}{{}}{{{top}}}{{{bottom}}}"
        if kind in ("lin", "skw"):
            return f"{_grouped(top)}/{_grouped(bottom)}"
        return f"\\frac{{{top}}}{{{bottom}}}"

    def raised(self, element: Element) -> str:
        return f"{_base(self._argument(element))}{_script('^', self._argument(element, 'sup'))}"

    def lowered(self, element: Element) -> str:
        return f"{_base(self._argument(element))}{_script('_', self._argument(element, 'sub'))}"

    def both(self, element: Element) -> str:
        scripts = _script("_", self._argument(element, "sub")) + _script("^", self._argument(element, "sup"))
        return f"{_base(self._argument(element))}{scripts}"

    def before(self, element: Element) -> str:
        scripts = _script("_", self._argument(element, "sub")) + _script("^", self._argument(element, "sup"))
        return f"{{}}{scripts}{_base(self._argument(element))}"

    def root(self, element: Element) -> str:
        degree = self._argument(element, "deg")
        hidden = _on(_child(element, "radPr", "degHide"))
        return f"\\sqrt{'' if hidden or not degree else f'[{degree}]'}{{{self._argument(element)}}}"

    def delimited(self, element: Element) -> str:
        properties = element.find(f"{MATH}dPr")
        opening, closing = _value(properties, "begChr", "("), _value(properties, "endChr", ")")
        separator = math_text(_value(properties, "sepChr", "|"))
        parts = [self.content(child) for child in element.iterchildren(f"{MATH}e")]
        inside = joined(
            [part for index, part in enumerate(parts) for part in ((separator, part) if index else (part,))]
        )
        stack = re.fullmatch(r"\\genfrac\{\}\{\}\{0pt\}\{\}(\{.*\})", inside)
        if stack and (opening, closing) == ("(", ")") and inside.count("genfrac") == 1:
            return f"\\binom{stack[1]}"
        if opening in DELIMITERS and closing in DELIMITERS:
            start, end = f"\\left{DELIMITERS[opening]}", f"\\right{DELIMITERS[closing]}"
            return joined([start, inside, end])
        return joined([math_text(opening), inside, math_text(closing)])

    def nary(self, element: Element) -> str:
        properties = element.find(f"{MATH}naryPr")
        sign = math_text(_value(properties, "chr", "∫"))
        lower, upper = self._argument(element, "sub"), self._argument(element, "sup")
        limits = "\\limits" if _value(properties, "limLoc") == "undOvr" and "int" in sign else ""
        scripts = _script("_", lower) + _script("^", upper)
        return joined([f"{sign}{limits}{scripts}", self._argument(element)])

    def named(self, element: Element) -> str:
        return joined([self._name(element.find(f"{MATH}fName")), _grouped_argument(self._argument(element))])

    def _name(self, element: Element | None) -> str:
        if element is None:
            return ""
        runs = [child for child in element if child.tag == f"{MATH}r"]
        text = "".join("".join(_texts(run)) for run in runs).strip()
        if len(runs) == sum(1 for child in element if child.tag != f"{MATH}ctrlPr") and _NAME.fullmatch(text):
            return function(text)
        return self.content(element)

    def below(self, element: Element) -> str:
        return self._limit(element, "_", "underset")

    def above(self, element: Element) -> str:
        return self._limit(element, "^", "overset")

    def _limit(self, element: Element, sign: str, command: str) -> str:
        base, limit = self._name(element.find(f"{MATH}e")), self._argument(element, "lim")
        if base.startswith(
            ("\\lim", "\\max", "\\min", "\\sup", "\\inf", "\\operatorname", "\\underbrace", "\\overbrace")
        ):
            return f"{base}{_script(sign, limit)}"
        return f"\\{command}{{{limit}}}{{{base}}}"

    def accent(self, element: Element) -> str:
        char = _value(element.find(f"{MATH}accPr"), "chr", "\u0302")
        command, base = ACCENTS.get(char), self._argument(element)
        if command is None:
            self.doubtful = True
            return base
        wide = {"hat": "widehat", "tilde": "widetilde", "bar": "overline", "vec": "overrightarrow"}
        return f"\\{wide.get(command, command) if len(base) > 1 and base[0] != chr(92) else command}{{{base}}}"

    def bar(self, element: Element) -> str:
        below = _value(element.find(f"{MATH}barPr"), "pos", "bot") == "bot"
        return f"\\{'underline' if below else 'overline'}{{{self._argument(element)}}}"

    def grouping(self, element: Element) -> str:
        properties = element.find(f"{MATH}groupChrPr")
        char, base = _value(properties, "chr", "⏟"), self._argument(element)
        if char in ("⏞", "⏟"):
            return f"\\{ACCENTS[char]}{{{base}}}"
        side = "overset" if _value(properties, "pos", "bot") == "top" else "underset"
        return f"\\{side}{{{math_text(char)}}}{{{base}}}"

    def matrix(self, element: Element) -> str:
        rows = [
            " & ".join(self.content(cell) for cell in row.iterchildren(f"{MATH}e"))
            for row in element.iterchildren(f"{MATH}mr")
        ]
        return f"\\begin{{matrix}}{_NEXT_ROW.join(rows)}\\end{{matrix}}"

    def lines(self, element: Element) -> str:
        # A sign "&" says where the lines are aligned.
        rows = [self.content(line).replace("\\&", "") for line in element.iterchildren(f"{MATH}e")]
        return f"\\begin{{array}}{{l}}{_NEXT_ROW.join(rows)}\\end{{array}}"

    def framed(self, element: Element) -> str:
        return f"\\boxed{{{self._argument(element)}}}"

    def phantom(self, element: Element) -> str:
        shown = _child(element, "phantPr", "show")
        return "" if shown is not None and not _on(shown) else self._argument(element)


_READERS: dict[str, Callable[[_Reader, Element], str]] = {
    "r": _Reader.run,
    "f": _Reader.fraction,
    "sSup": _Reader.raised,
    "sSub": _Reader.lowered,
    "sSubSup": _Reader.both,
    "sPre": _Reader.before,
    "rad": _Reader.root,
    "d": _Reader.delimited,
    "nary": _Reader.nary,
    "func": _Reader.named,
    "limLow": _Reader.below,
    "limUpp": _Reader.above,
    "acc": _Reader.accent,
    "bar": _Reader.bar,
    "groupChr": _Reader.grouping,
    "m": _Reader.matrix,
    "eqArr": _Reader.lines,
    "borderBox": _Reader.framed,
    "phant": _Reader.phantom,
}


def _texts(element: Element) -> Iterator[str]:
    for child in element:
        if child.tag in (f"{MATH}t", f"{_WORD}t", f"{_DRAWING}t"):
            yield child.text or ""
        elif child.tag in (f"{_WORD}br", f"{_WORD}tab"):
            yield " "


def _base(latex: str) -> str:
    """Return what a script is put on: a single sign as it is, everything else as a group."""
    single = len(latex) == 1 or re.fullmatch(r"\\[A-Za-z]+", latex) or latex.startswith("\\left")
    return latex if single else f"{{{latex}}}"


def _script(sign: str, latex: str) -> str:
    if not latex:
        return ""
    if latex.strip("'") == "" and sign == "^":
        return latex  # a prime is raised by itself
    return f"{sign}{{{latex}}}"


def _grouped(latex: str) -> str:
    return latex if len(latex) <= 1 or re.fullmatch(r"\w+|\\[A-Za-z]+", latex) else f"({latex})"


def _grouped_argument(latex: str) -> str:
    return latex if latex.startswith(("\\left", "(", "{")) or len(latex) <= 1 else f"{{{latex}}}"


def _value(element: Element | None, name: str, default: str = "") -> str:
    child = None if element is None else element.find(f"{MATH}{name}")
    return default if child is None else child.get(_VAL, "")


def _child(element: Element, properties: str, name: str) -> Element | None:
    return element.find(f"{MATH}{properties}/{MATH}{name}")


def _on(element: Element | None) -> bool:
    return element is not None and element.get(_VAL, "1") not in ("0", "off", "false")
