"""Formulas that are written as a field (EQ; ECMA-376 part 1, 17.16.5.18) as LaTeX; pure.

Word before 2007, and writers of East Asian exams, set fractions, roots and raised signs in this way. Word stores no
result.
"""

from __future__ import annotations

import re

from tasks.conversion.formulas.latex_signs import DELIMITERS, joined, math_text

# A real one has three or four.
_MAX_DEPTH = 20
# What follows the letter of a command: options with a number, or with the character that a bracket is.
_OPTIONS = re.compile(r"(?:\s*\\(?:[lrb]c\s*\\.|[a-z]{2}\s*-?\d*))*\s*")
_BRACKET = re.compile(r"\\([lrb])c\s*\\(.)")
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SEPARATORS = ",;"
_NEXT_ROW = r" \\ "


def equation(instruction: str) -> str:
    """Return the formula of the *instruction* of a field, after the word EQ, as LaTeX."""
    latex, _ = _sequence(instruction.strip(), 0, 0)
    return latex.strip()


def _sequence(text: str, position: int, depth: int, *, inside: bool = False) -> tuple[str, int]:
    """Return the LaTeX of *text* from *position* to the end of the argument, and where that is."""
    parts: list[str] = []
    while position < len(text) and not (inside and text[position] in f"){_SEPARATORS}"):
        if text[position] != "\\":
            parts.append(math_text(text[position]))
            position += 1
        elif position + 1 < len(text) and text[position + 1].isalpha() and depth < _MAX_DEPTH:
            latex, position = _command(text, position + 1, depth)
            parts.append(latex)
        else:
            parts.append(math_text(text[position + 1 : position + 2]))
            position += 2
    return joined(parts), position


def _command(text: str, position: int, depth: int) -> tuple[str, int]:
    letter = text[position].lower()
    found = _OPTIONS.match(text, position + 1)
    options = found[0] if found else ""
    position += 1 + len(options)
    arguments: list[str] = []
    if position < len(text) and text[position] == "(":
        while position < len(text) and (text[position] == "(" if not arguments else text[position] in _SEPARATORS):
            argument, position = _sequence(text, position + 1, depth + 1, inside=True)
            arguments.append(argument)
        position += 1
    return _written(letter, options, arguments), position


def _written(letter: str, options: str, arguments: list[str]) -> str:
    first = arguments[0] if arguments else ""
    last = arguments[-1] if arguments else ""
    if letter == "f" and len(arguments) > 1:
        return f"\\frac{{{first}}}{{{arguments[1]}}}"
    if letter == "r":
        return f"\\sqrt[{first}]{{{last}}}" if len(arguments) > 1 and first.strip() else f"\\sqrt{{{last}}}"
    if letter == "s":
        if len(arguments) > 1:
            return f"^{{{first}}}_{{{last}}}"
        return f"{'_' if 'do' in options else '^'}{{{first}}}"
    if letter == "b":
        return _bracketed(options, ",".join(arguments))
    if letter == "i":
        sign = "\\sum" if "\\su" in options else "\\prod" if "\\pr" in options else "\\int"
        low, high, body = [*arguments, "", "", ""][:3]
        return joined([sign + (f"_{{{low}}}" if low else "") + (f"^{{{high}}}" if high else ""), body])
    if letter == "x":
        return f"\\{'overline' if 'to' in options else 'underline' if 'bo' in options else 'boxed'}{{{first}}}"
    if letter == "a":
        return f"\\begin{{matrix}}{_NEXT_ROW.join(arguments)}\\end{{matrix}}"
    return joined(arguments) if letter == "o" else ",".join(arguments)


def _bracketed(options: str, content: str) -> str:
    given: dict[str, str] = dict(_BRACKET.findall(options))
    opening = given.get("l", given.get("b", "" if "r" in given else "("))
    closing = given.get("r", _CLOSING.get(given.get("b", ""), given.get("b", "" if "l" in given else ")")))
    return joined([f"\\left{DELIMITERS.get(opening, '.')}", content, f"\\right{DELIMITERS.get(closing, '.')}"])
