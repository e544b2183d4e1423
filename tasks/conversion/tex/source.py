"""The source of a LaTeX document, read token by token, with the author's own commands expanded.

Owns comments, arguments and definitions, and the bounds on expansion: a command that calls itself ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.conversion.whole_numbers import whole_number

# Real documents expand a few thousand times; each expansion copies its arguments.
_MAX_EXPANSIONS = 20_000
_MAX_EXPANDED_CHARACTERS = 1_000_000
_MAX_ARGUMENTS = 9  # as TeX has it

_TEXT = re.compile(r"[^\\{}$%~`'\"\-\n&<>?!\[\]]+")
_COMMAND = re.compile(r"\\([A-Za-z@]+|.|\n|\Z)", re.DOTALL)
_AFTER_WORD = re.compile(r"[ \t]*(?:\n[ \t]*(?!\n|[ \t]*\n))?")
_COMMENT = re.compile(r"%[^\n]*(?:\n[ \t]*)?")
_BLANKS = re.compile(r"(?:[ \t\n]|%[^\n]*\n?)*")
_BALANCE = re.compile(r"\\.|[{}%]", re.DOTALL)
_OPTION = re.compile(r"\\.|[{}\]%]", re.DOTALL)
_COMMENTS = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*)?")
_CALL = re.compile(r"\\([A-Za-z@]+)")


@dataclass(frozen=True)
class Macro:
    """A command of the author: its body, how many arguments it takes, and the first one's value if it is optional."""

    body: str
    arguments: int = 0
    default: str | None = None


@dataclass
class Definitions:
    """The commands and environments that the document defines."""

    commands: dict[str, Macro] = field(default_factory=dict[str, Macro])
    environments: dict[str, tuple[Macro, str]] = field(default_factory=dict[str, tuple[Macro, str]])
    left: int = _MAX_EXPANSIONS
    characters_left: int = _MAX_EXPANDED_CHARACTERS


class Source:
    """A text and the place in it. An expansion is read before what follows it."""

    def __init__(self, text: str, definitions: Definitions) -> None:
        self.definitions = definitions
        self._frames: list[tuple[str, int]] = [(text, 0)]

    def _top(self) -> tuple[str, int]:
        while len(self._frames) > 1 and self._frames[-1][1] >= len(self._frames[-1][0]):
            self._frames.pop()
        return self._frames[-1]

    def push(self, text: str) -> None:
        """Read *text* next."""
        self.definitions.characters_left -= len(text)
        if self.definitions.characters_left > 0 and text:
            self._frames.append((text, 0))

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return what matches *pattern* here and step behind it."""
        text, at = self._top()
        found = pattern.match(text, at)
        if found:
            self._frames[-1] = (text, found.end())
        return found

    def token(self) -> str:
        """Return the next token: a run of text, a command with its backslash, or a sign; empty at the end."""
        while self.take(_COMMENT):
            pass
        text, at = self._top()
        if at >= len(text):
            return ""
        sign = text[at]
        if sign == "\\":
            found = self.take(_COMMAND)
            name = found[0] if found else "\\"
            if name[1:2].isalpha():
                self.take(_AFTER_WORD)
            return name
        found = self.take(_TEXT)
        if found:
            return found[0]
        self._frames[-1] = (text, at + 1)
        return sign

    def peek(self) -> str:
        """Return the next character, empty at the end."""
        text, at = self._top()
        return text[at : at + 1]

    def argument(self) -> str:
        """Return the next argument without its braces; one token if it has none."""
        self.take(_BLANKS)
        if self.peek() != "{":
            text, at = self._top()
            if at < len(text) and text[at] != "\\":
                self._frames[-1] = (text, at + 1)
                return text[at]
            return self.token()
        return self._balanced(_BALANCE, "}")

    def option(self) -> str | None:
        """Return the next optional argument without its brackets; None if there is none."""
        text, at = self._top()
        blanks = _BLANKS.match(text, at)
        if blanks is None or text[blanks.end() : blanks.end() + 1] != "[":
            return None
        self.take(_BLANKS)
        return self._balanced(_OPTION, "]")

    def _balanced(self, signs: re.Pattern[str], closing: str) -> str:
        text, start = self._top()
        depth = 0
        at = start + 1
        while found := signs.search(text, at):
            at = found.end()
            if found[0] == "%":
                at = text.find("\n", at) + 1 or len(text)
            elif found[0] == closing and depth == 0:
                self._frames[-1] = (text, at)
                return text[start + 1 : found.start()]
            elif found[0] in "{}":
                depth += 1 if found[0] == "{" else -1
        self._frames[-1] = (text, len(text))
        return text[start + 1 :]

    def until(self, end: str) -> str:
        """Return the text up to *end*, word for word, and step behind it."""
        text, at = self._top()
        found = text.find(end, at)
        if found < 0:
            self._frames[-1] = (text, len(text))
            return text[at:]
        self._frames[-1] = (text, found + len(end))
        return text[at:found]

    def rest(self) -> str:
        """Return everything that follows, and step to the end."""
        parts = [text[at:] for text, at in reversed(self._frames)]
        self._frames = [("", 0)]
        return "".join(parts)

    def push_back(self, sign: str) -> None:
        """Step back before *sign*, which was the last token."""
        text, at = self._frames[-1]
        self._frames[-1] = (text, at - len(sign))

    def environment(self, name: str) -> str:
        """Return the body of an environment whose beginning was read, and step behind its end."""
        text, at = self._top()
        depth = 0
        for found in re.compile(r"\\(begin|end)\s*\{" + re.escape(name) + r"\}").finditer(text, at):
            depth += 1 if found[1] == "begin" else -1
            if depth < 0:
                self._frames[-1] = (text, found.end())
                return text[at : found.start()]
        self._frames[-1] = (text, len(text))
        return text[at:]

    def star(self) -> bool:
        """Step behind a star, and return whether there was one."""
        return self.take(re.compile(r"\*")) is not None

    def expand(self, name: str) -> bool:
        """Read the expansion of a command of the author next; return whether there is one."""
        macro = self.definitions.commands.get(name)
        if macro is None or self.definitions.left <= 0:
            return False
        self.push(self.expansion(macro))
        return True

    def expansion(self, macro: Macro) -> str:
        """Return the body of *macro* with its arguments, which are read here."""
        self.definitions.left -= 1
        values: list[str] = []
        if macro.default is not None:
            given = self.option()
            values.append(macro.default if given is None else given)
        values += (self.argument() for _ in range(macro.arguments - len(values)))
        return re.sub(r"#([1-9])", lambda found: "".join(values[int(found[1]) - 1 : int(found[1])]), macro.body)


def without_comments(text: str) -> str:
    return _COMMENTS.sub(r"\1", text)


def expanded(text: str, definitions: Definitions) -> str:
    """Return a formula's *text* with the author's commands expanded and without comments."""
    text = without_comments(text)
    if not any(found[1] in definitions.commands for found in _CALL.finditer(text)):
        return text
    source = Source(text, definitions)
    parts: list[str] = []
    while token := source.token():
        if token[0] == "\\" and source.expand(token[1:]):
            continue
        parts.append(token + " " if re.fullmatch(r"\\[A-Za-z@]+", token) and source.peek().isalpha() else token)
    return "".join(parts)


def define(source: Source, command: str) -> bool:
    """Read a definition that begins with *command*; return whether it is one."""
    commands = source.definitions.commands
    if command in ("newcommand", "renewcommand", "providecommand", "DeclareRobustCommand"):
        source.star()
        name = source.argument().strip().lstrip("\\")
        count = source.option()
        default = source.option()
        commands[name] = Macro(source.argument(), _number(count), default)
    elif command in ("def", "gdef", "edef", "xdef"):
        name = source.token().lstrip("\\")
        parameters = source.take(re.compile(r"[^{]*"))
        commands[name] = Macro(source.argument(), len(re.findall(r"#\d", parameters[0] if parameters else "")))
    elif command in ("NewDocumentCommand", "RenewDocumentCommand", "DeclareDocumentCommand"):
        name = source.argument().strip().lstrip("\\")
        kinds = source.argument().strip()
        first = re.match(r"[oO]\s*(?:\{([^{}]*)\})?", kinds)
        count = len(re.findall(r"[moO]", re.sub(r"\{[^{}]*\}", "", kinds)))
        commands[name] = Macro(source.argument(), count, (first[1] or "") if first else None)
    elif command == "let":
        name = source.token().lstrip("\\")
        source.take(re.compile(r"\s*=?\s*"))
        commands[name] = Macro(source.token())
    elif command in ("DeclareMathOperator",):
        source.star()
        name = source.argument().strip().lstrip("\\")
        commands[name] = Macro(f"\\operatorname{{{source.argument()}}}")
    elif command in ("newenvironment", "renewenvironment"):
        name = source.argument().strip()
        count = source.option()
        default = source.option()
        source.definitions.environments[name] = (Macro(source.argument(), _number(count), default), source.argument())
    else:
        return False
    return True


def _number(text: str | None) -> int:
    return min(whole_number(text), _MAX_ARGUMENTS)
