"""Signs of formulas as LaTeX; pure.

Owns how the text of formulas in Office documents becomes safe in a formula that stands in Markdown. No bar "|" is
written: in a table it would end the cell.
"""

from __future__ import annotations

import unicodedata

from tasks.conversion.formulas.latex_symbols import COMMANDS as WRITTEN
from tasks.conversion.formulas.latex_symbols import FUNCTIONS

# Signs of Office's formulas that have a command in addition to those of every formula.
_FURTHER_TEXT = """
ϰ varkappa Ω Omega ∆ Delta ℘ wp ∄ nexists ℧ mho ı imath ȷ jmath · cdot ∗ ast ⊖ ominus ⊘ oslash ⊙ odot ∨ vee ⊎ uplus
≦ leqq ≧ geqq ≐ doteq ≜ triangleq ≺ prec ≻ succ ∋ ni ⊄ nsubseteq ∤ nmid ⟹ Longrightarrow ⇌ rightleftharpoons
↗ nearrow ↘ searrow ∐ coprod ⋁ bigvee ⋀ bigwedge ∟ angle □ square ◊ lozenge ⊨ models ⊤ top 〈 langle 〉 rangle | vert
"""
_FURTHER = _FURTHER_TEXT.split()
COMMANDS: dict[str, str] = {
    **{sign: f"\\{command}" for sign, command in WRITTEN.items()},
    **{sign: f"\\{command}" for sign, command in zip(_FURTHER[::2], _FURTHER[1::2], strict=True)},
    "−": "-",
    "⁡": "",  # function application and invisible times
    "⁢": "",
    "⁣": "",
    "⁄": "/",
    "∕": "/",
    "″": "''",
    "′": "'",
    "°": "^{\\circ}",
    "\u00a0": "~",
    "\u2003": "\\quad ",
    "\u2009": "\\,",
    "\u200b": "",
    "ℝ": "\\mathbb{R}",
    "ℕ": "\\mathbb{N}",
    "ℤ": "\\mathbb{Z}",
    "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}",
    "∛": "\\sqrt[3]{}",
    "ℒ": "\\mathcal{L}",
    "ℱ": "\\mathcal{F}",
    "ℋ": "\\mathcal{H}",
}
_ESCAPED = {char: f"\\{char}" for char in "#$%&_{}"} | {"\\": "\\backslash", "^": "\\hat{}", "~": "\\sim"}
# What ends a command without a blank after it.
_ENDS_COMMAND = frozenset("0123456789 +-=<>()[]{}.,;:!?/*'^_&\\")

ACCENTS: dict[str, str] = {
    "\u0302": "hat",
    "^": "hat",
    "ˆ": "hat",
    "\u0303": "tilde",
    "~": "tilde",
    "˜": "tilde",
    "\u0304": "bar",
    "\u0305": "overline",
    "¯": "bar",
    "‾": "overline",
    "\u0331": "underline",
    "\u0332": "underline",
    "\u0307": "dot",
    "˙": "dot",
    "\u0308": "ddot",
    "¨": "ddot",
    "\u20db": "dddot",
    "\u0301": "acute",
    "´": "acute",
    "\u0300": "grave",
    "`": "grave",
    "\u0306": "breve",
    "˘": "breve",
    "\u030c": "check",
    "ˇ": "check",
    "\u20d7": "vec",
    "→": "vec",
    "\u20d6": "overleftarrow",
    "←": "overleftarrow",
    "\u20e1": "overleftrightarrow",
    "↔": "overleftrightarrow",
    "\u030a": "mathring",
    "˚": "mathring",
    "⏞": "overbrace",
    "⏟": "underbrace",
    "\u20d0": "overleftharpoon",
    "\u20d1": "overrightharpoon",
}
# What `\left` and `\right` take; others stand without them.
DELIMITERS: dict[str, str] = {
    **{char: char for char in "()[]/."},
    "{": "\\{",
    "}": "\\}",
    "|": "\\vert",
    "∣": "\\vert",
    "‖": "\\Vert",
    "∥": "\\Vert",
    "<": "\\langle",
    ">": "\\rangle",
    **{char: COMMANDS[char] for char in "⌊⌋⌈⌉⟨⟩〈〉↑↓"},
    "⟦": "\\llbracket",
    "⟧": "\\rrbracket",
    "": ".",
}


def math_text(text: str) -> str:
    """Return *text* of a formula as LaTeX; letters of the mathematical alphabets become plain letters."""
    parts: list[str] = []
    for given in text:
        char = unicodedata.normalize("NFKC", given) if 0x1D400 <= ord(given) <= 0x1D7FF else given
        parts.append(COMMANDS.get(char) or ("" if char in COMMANDS else _ESCAPED.get(char, char)))
    return joined(parts)


def plain_words(text: str) -> str:
    """Return words of a formula as LaTeX text."""
    escaped = "".join({"\\": "\\textbackslash{}", "^": "\\^{}", "~": "\\~{}"}.get(c, _ESCAPED.get(c, c)) for c in text)
    return f"\\text{{{escaped.replace('|', chr(0x2223))}}}"


def joined(parts: list[str]) -> str:
    """Return LaTeX of *parts* in order; a command and a letter after it stay apart."""
    result = ""
    for part in parts:
        if part and _ends_in_command(result) and part[0] not in _ENDS_COMMAND:
            result += " "
        result += part
    return result


def function(name: str) -> str:
    """Return the name of a function as LaTeX ("\\sin")."""
    return f"\\{name}" if name in FUNCTIONS else f"\\operatorname{{{name}}}"


def _ends_in_command(latex: str) -> bool:
    letters = len(latex)
    while letters and latex[letters - 1].isascii() and latex[letters - 1].isalpha():
        letters -= 1
    return 0 < letters < len(latex) and latex[letters - 1] == "\\"
