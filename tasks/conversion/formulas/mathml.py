"""MathML as LaTeX; pure.

Owns presentation MathML (MathML Core, and the few other elements that programs still write). Content MathML, and a tree
with an element that is not known, gives nothing, and the caller keeps the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.conversion.formulas.latex_signs import DELIMITERS, joined
from tasks.conversion.formulas.latex_symbols import COMMANDS, FUNCTIONS
from tasks.conversion.office.package import Element

# A real formula has some ten levels; a level takes three frames of Python's 1,000.
_MAX_DEPTH = 60

_SIGNS = {
    **{sign: f"\\{command}" for sign, command in COMMANDS.items()},
    "ħ": "\\hbar",
    "·": "\\cdot",
    "〈": "\\langle",
    "〉": "\\rangle",
    "°": "{}^{\\circ}",
    "−": "-",
    "∗": "*",
    **dict.fromkeys("\u2061\u2062\u2063\u2064\u200b", ""),  # functions and products that are not shown
    **{sign: f"\\{sign}" for sign in "{}%#&$_"},
    "\\": "\\backslash",
    "~": "\\sim",
    "\u00a0": "\\ ",
    "\u2009": "\\,",
    "²": "^{2}",
    "³": "^{3}",
    **{sign: f"\\mathbb{{{letter}}}" for sign, letter in zip("ℝℕℤℚℂ", "RNZQC", strict=True)},
}
_ACCENTS_TEXT = """
¯ bar ‾ overline ˉ bar ^ hat ˆ hat \u0302 hat ~ tilde ˜ tilde → vec ⃗ vec ˙ dot ¨ ddot ˇ check ˘ breve ⏞ overbrace
\u0304 bar _ bar . dot .. ddot ⇀ vec ― overline ´ acute ` grave
"""
_ACCENT_PAIRS = _ACCENTS_TEXT.split()
_ACCENTS: dict[str, str] = dict(zip(_ACCENT_PAIRS[::2], _ACCENT_PAIRS[1::2], strict=True))
_UNDER: dict[str, str] = {**dict.fromkeys("_¯‾\u0332", "underline"), "⏟": "underbrace"}
_WIDE: dict[str, str] = {"bar": "overline", "hat": "widehat", "tilde": "widetilde", "vec": "overrightarrow"}
_TAKES_LIMITS = re.compile(
    r"\\(?:sum|prod|i*int|oint|bigcup|bigcap|lim|max|min|sup|inf|limsup|liminf|det|gcd|Pr|underbrace|overbrace)\b"
)
_RELATIONS = frozenset("=<>+−-→⇒⇔≤≥≠≈≡∈∼±×⋅·∪∩⊂")
_VARIANT_PAIRS_TEXT = """
bold mathbf double-struck mathbb script mathcal fraktur mathfrak sans-serif mathsf monospace mathtt normal mathrm
bold-italic boldsymbol
"""
_VARIANT_PAIRS = _VARIANT_PAIRS_TEXT.split()
_VARIANTS = dict(zip(_VARIANT_PAIRS[::2], _VARIANT_PAIRS[1::2], strict=True))
_SCRIPT_MARKS: dict[str, str] = {
    "msub": "_",
    "msup": "^",
    "msubsup": "_^",
    "munder": "_",
    "mover": "^",
    "munderover": "_^",
}
_ENVIRONMENTS = {
    ("(", ")"): "pmatrix",
    ("[", "]"): "bmatrix",
    ("|", "|"): "vmatrix",
    ("‖", "‖"): "Vmatrix",
    ("{", ""): "cases",
}
_TRANSPARENT = frozenset({"math", "mrow", "mstyle", "mpadded", "semantics", "mtd", "merror", "maction", "a", "span"})
_TEXT_ESCAPES = re.compile(r"[\\{}$&#%_]")


class _Unknown(Exception):
    """An element that cannot be written."""


def to_latex(math: Element) -> str | None:
    """Return the LaTeX of a ``<math>`` element, without dollar signs; None if it cannot be read. Empty stays empty."""
    try:
        latex = _element(math, 0)
    except _Unknown:
        return None
    return re.sub(r"\s+", " ", latex).strip()


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(element.tag, str) else ""


def _children(element: Element) -> list[Element]:
    ignored = ("annotation", "annotation-xml", "", "mphantom", "mspace", "maligngroup", "malignmark", "mprescripts")
    return [child for child in element if _name(child) not in ignored or _name(child) in ("mspace", "mprescripts")]


def _element(element: Element, depth: int) -> str:
    name = _name(element)
    if depth > _MAX_DEPTH:
        raise _Unknown(name)
    write = _WRITERS.get(name)
    if write is not None:
        return write(element, depth + 1)
    if name in _TRANSPARENT:
        return _row(element, depth + 1)
    raise _Unknown(name)


def _row(element: Element, depth: int) -> str:
    children = _children(element)
    parts: list[str] = []
    position = 0
    while position < len(children):
        found = _matrix_at(children, position, depth)
        parts.append(found[0] if found else _element(children[position], depth))
        position += found[1] if found else 1
    return joined(parts) or _leaf_text(element)


def _leaf_text(element: Element) -> str:
    """Return text that stands in a row itself, which MathML does not allow and some programs write."""
    return _signs((element.text or "").strip()) if len(element) == 0 else ""


def _signs(text: str) -> str:
    return joined([_SIGNS.get(sign, sign) for sign in text])


def _text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split(" ")).strip("\n\t\r ")


def _identifier(element: Element, depth: int) -> str:
    text = _text(element)
    if text in FUNCTIONS:
        return f"\\{text} "
    variant = _VARIANTS.get(element.get("mathvariant") or "")
    written = _signs(text)
    if variant and text and not (variant == "mathrm" and len(text) == 1 and not text.isascii()):
        return f"\\{variant}{{{written}}}"
    return f"\\operatorname{{{written}}}" if len(text) > 1 and text.isalpha() and text.isascii() else written


def _number(element: Element, depth: int) -> str:
    variant = _VARIANTS.get(element.get("mathvariant") or "")
    written = _signs(_text(element))
    return f"\\{variant}{{{written}}}" if variant and variant != "mathrm" else written


def _operator(element: Element, depth: int) -> str:
    text = _text(element)
    if text in FUNCTIONS:
        return f"\\{text} "
    if len(text) > 1 and text.isalpha():
        return f"\\operatorname{{{text}}}"
    written = _signs(text)
    return f" {written} " if text in _RELATIONS else written


def _words(element: Element, depth: int) -> str:
    text = "".join(element.itertext()).replace("\u00a0", " ")
    return f"\\text{{{_TEXT_ESCAPES.sub(lambda found: chr(92) + found[0], text)}}}" if text.strip() else " "


def _parts(element: Element, depth: int, count: int) -> list[str]:
    children = _children(element)
    if len(children) != count:
        raise _Unknown(_name(element))
    return [_element(child, depth).strip() for child in children]


def _fraction(element: Element, depth: int) -> str:
    above, below = _parts(element, depth, 2)
    if (element.get("linethickness") or "") in ("0", "0px", "0pt"):
        return f"\\binom{{{above}}}{{{below}}}"
    return f"\\frac{{{above}}}{{{below}}}"


def _root(element: Element, depth: int) -> str:
    if _name(element) == "msqrt":
        return f"\\sqrt{{{_row(element, depth).strip()}}}"
    inside, degree = _parts(element, depth, 2)
    return f"\\sqrt[{degree}]{{{inside}}}"


def _base(text: str) -> str:
    """Return the base of a script so that the script belongs to all of it."""
    alone = len(text) <= 1 or re.fullmatch(r"\\[A-Za-z]+ ?|\\[A-Za-z]+\{[^{}]*\}|\d+", text)
    return text.strip() if alone else f"{{{text}}}" if text else "{}"


def _scripts(element: Element, depth: int) -> str:
    name = _name(element)
    base, *scripts = _parts(element, depth, 3 if name == "msubsup" else 2)
    base = _base(base)
    marks = _SCRIPT_MARKS[name]
    if name == "msup" and re.fullmatch(r"(?:\\prime ?)+|'+", scripts[0]):
        return base + "'" * (scripts[0].count("prime") or len(scripts[0]))
    return base + "".join(f"{mark}{{{script}}}" for mark, script in zip(marks, scripts, strict=True) if script)


def _limits(element: Element, depth: int) -> str:
    name = _name(element)
    children = _children(element)
    if len(children) != (3 if name == "munderover" else 2):
        raise _Unknown(name)
    base = _element(children[0], depth).strip()
    sign = _text(children[1])
    if name != "munderover":
        accents = _ACCENTS if name == "mover" else _UNDER
        if sign in accents and _name(children[1]) in ("mo", "mi", "mtext", "mrow"):
            accent = accents[sign]
            return f"\\{_WIDE.get(accent, accent) if len(_text(children[0])) > 1 else accent}{{{base}}}"
    scripts = [_element(child, depth).strip() for child in children[1:]]
    if _TAKES_LIMITS.match(base):
        marks = _SCRIPT_MARKS[name]
        return base + "".join(f"{mark}{{{script}}}" for mark, script in zip(marks, scripts, strict=True))
    if name == "munder":
        return f"\\underset{{{scripts[0]}}}{{{base}}}"
    if name == "mover":
        return f"\\overset{{{scripts[0]}}}{{{base}}}"
    return f"\\underset{{{scripts[0]}}}{{\\overset{{{scripts[1]}}}{{{base}}}}}"


def _multiscripts(element: Element, depth: int) -> str:
    base, after, before, current = "", "", "", 0
    children = _children(element)
    if not children:
        return ""
    base = _element(children[0], depth).strip()
    position = 0
    for child in children[1:]:
        if _name(child) == "mprescripts":
            current, position = 1, 0
            continue
        script = "" if _name(child) == "none" else _element(child, depth).strip()
        written = f"{'_^'[position % 2]}{{{script}}}" if script else ""
        position += 1
        if current:
            before += written
        else:
            after += written
    return f"{{}}{before}{base}{after}" if before else f"{_base(base)}{after}"


def _fenced(element: Element, depth: int) -> str:
    opening, closing = str(element.get("open", "(")), str(element.get("close", ")"))
    separators = (element.get("separators", ",") or "").replace(" ", "")
    children = _children(element)
    if len(children) == 1 and (table := _table_in(children[0])) is not None:
        return _matrix(table, depth, _ENVIRONMENTS.get((opening, closing), "matrix"))
    result = ""
    for index, child in enumerate(children):
        if index and separators:
            result += _signs(separators[min(index - 1, len(separators) - 1)])
        result += _element(child, depth).strip()
    tall = "\\frac" in result
    left, right = DELIMITERS.get(opening, opening), DELIMITERS.get(closing, closing)
    if tall or "." in (left, right):
        return joined([f"\\left{left}", result, f"\\right{right}"])
    return joined([left, result, right])


def _table_in(element: Element) -> Element | None:
    while _name(element) in ("mrow", "mstyle", "mpadded") and len(_children(element)) == 1:
        element = _children(element)[0]
    return element if _name(element) == "mtable" else None


def _matrix_at(children: list[Element], position: int, depth: int) -> tuple[str, int] | None:
    """Return a table between brackets, or after a brace, and how many elements that is."""
    if position + 1 >= len(children) or _name(children[position]) != "mo":
        return None
    table = _table_in(children[position + 1])
    if table is None:
        return None
    after = children[position + 2] if position + 2 < len(children) else None
    closing = _text(after) if after is not None and _name(after) == "mo" else ""
    opening = _text(children[position])
    environment = _ENVIRONMENTS.get((opening, closing))
    if environment:
        return _matrix(table, depth, environment), 3 if closing else 2
    return (_matrix(table, depth, "cases"), 2) if opening == "{" else None


def _matrix(table: Element, depth: int, environment: str) -> str:
    rows = [
        " & ".join(_element(cell, depth).strip() for cell in _children(row) if _name(cell) == "mtd")
        for row in _children(table)
        if _name(row) in ("mtr", "mlabeledtr")
    ]
    body = r" \\ ".join(rows)
    return f"\\begin{{{environment}}} {body} \\end{{{environment}}}"


def _table(element: Element, depth: int) -> str:
    aligned = "left" in (element.get("columnalign") or "") or element.get("displaystyle") == "true"
    return _matrix(element, depth, "aligned" if aligned else "matrix")


def _enclosed(element: Element, depth: int) -> str:
    inside = _row(element, depth).strip()
    notation = element.get("notation") or ""
    return f"\\boxed{{{inside}}}" if "box" in notation else f"\\cancel{{{inside}}}" if "strike" in notation else inside


def _space(element: Element, depth: int) -> str:
    return "\\quad " if re.fullmatch(r"(?:[1-9]\d*(?:\.\d+)?|0\.[5-9]\d*)em", element.get("width") or "") else " "


def _nothing(element: Element, depth: int) -> str:
    return ""


_WRITERS: dict[str, Callable[[Element, int], str]] = {
    "mi": _identifier,
    "mn": _number,
    "mo": _operator,
    "mtext": _words,
    "ms": _words,
    "mfrac": _fraction,
    "msqrt": _root,
    "mroot": _root,
    **dict.fromkeys(("msub", "msup", "msubsup"), _scripts),
    **dict.fromkeys(("munder", "mover", "munderover"), _limits),
    "mmultiscripts": _multiscripts,
    "mfenced": _fenced,
    "mtable": _table,
    "menclose": _enclosed,
    "mspace": _space,
    **dict.fromkeys(("mphantom", "none", "mprescripts"), _nothing),
}
