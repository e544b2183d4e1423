"""Words that the project does not use, because a standard term says the same; fails where one stands.

Looks at product code (comments, texts and the parts of identifiers), at the documentation and at the deployments' file.
The reasons, and the terms to use instead, are in CONTRIBUTING.md. Language data of the stages is left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CODE = ("blocks", "tasks", "flows", "waybill")
TEXTS = ("README.md", "CONTRIBUTING.md", "prefect.yaml", "docs", "tests/README.md")
EXEMPT = (
    "tasks/extraction/vocabulary.py",  # words of natural languages
    "tasks/extraction/gazetteer.py",
    "docs/adr/0013-names-and-layout.md",  # lists the old names
)
# Each with what to say instead.
WORDS = {
    r"tell(s|ing|able)?|told": "report, notify, record, show",
    r"whoever|somebody|anybody|nobody": "name the actor: the client, the caller, another process, no reader",
    r"lanes?": "worker",
    r"settlers?": "writer",
    r"verdicts?": "decision",
    r"beside": "next to, in addition to",
    r"travel(s|s?led|l?ing)?": "pass, is sent",
    r"bring(s|ing)?|brought": "process, move, add",
    r"business of": "belongs to",
    r"comes? to (its|an|their) end": "ends",
    r"shunned": "in cooldown",
    r"strangers?": "another account, a third party",
    r"awaited": "pending, expected",
}
_WORDS = re.compile("|".join(f"(?P<w{number}>{word})" for number, word in enumerate(WORDS)), re.IGNORECASE)
# The parts of an identifier count as words: told_as, ToldEvent.
_PART = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\W]+")
# CONTRIBUTING.md and the glossary name the words themselves.
_QUOTED = re.compile(r"\*[^*\n]+\*|`[^`\n]+`")
# A method of files.
_FILE_POSITION = re.compile(r"\.tell\b|def tell\(")


def main() -> int:
    """Print each place with a word of the list; 1 when there is one."""
    found = [place for path in _files() for place in _places(path)]
    print("\n".join(found) or f"none of the {len(WORDS)} words that have a standard term")
    return 1 if found else 0


def _files() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted(Path(folder).rglob("*.py"))
    for name in TEXTS:
        path = Path(name)
        yield from sorted(path.rglob("*.md")) if path.is_dir() else ([path] if path.exists() else [])


def _places(path: Path) -> Iterator[str]:
    if str(path).startswith(EXEMPT):
        return
    is_text = path.suffix == ".md"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = " ".join(_PART.split(_QUOTED.sub("", line) if is_text else _FILE_POSITION.sub("", line)))
        for match in re.finditer(rf"\b(?:{_WORDS.pattern})\b", words, re.IGNORECASE):
            instead = list(WORDS.values())[int(str(match.lastgroup).removeprefix("w"))]
            yield f"{path}:{number}: {match[0]!r}: say {instead}"


if __name__ == "__main__":
    sys.exit(main())
