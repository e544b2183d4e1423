"""Documents, questions and off-topic questions of `benchmarks.retrieval`.

They are in `benchmarks/retrieval_data`, whose README describes them and the notation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).with_name("retrieval_data")
OFF_TOPIC = "off_topic.txt"
KINDS = {"p": "in other words", "x": "in another language", "n": "an exact name or number", "t": "with typing errors"}

Half = Literal["open", "held-out"]


@dataclass(frozen=True)
class Document:
    """A file of the corpus: its name, and its content as it is written."""

    name: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question, and the words of the passage that answers it. Off-topic ones have no quote and no document."""

    text: str
    language: str
    half: Half
    kind: str = ""
    document: str = ""
    quote: str = ""

    def is_answered_by(self, document: str, passage: str) -> bool:
        """Whether *passage* of *document* contains the quote; line breaks count as blanks."""
        return document == self.document and in_one_line(self.quote) in in_one_line(passage)


def in_one_line(text: str) -> str:
    """Return *text* with each run of blank space as one blank."""
    return " ".join(text.split())


def load() -> tuple[list[Document], list[Question]]:
    """Return all documents and their questions. Raises `ValueError` for a quote that its document does not have."""
    documents: list[Document] = []
    questions: list[Question] = []
    seen: defaultdict[tuple[str, str], int] = defaultdict(int)
    for path in sorted(FOLDER.glob("*.txt")):
        if path.name == OFF_TOPIC:
            continue
        for part in f"\n{path.read_text(encoding='utf-8')}".split("\n%%% ")[1:]:
            name, _, rest = part.partition("\n")
            lines = rest.splitlines()
            document = Document(name, "\n".join(line for line in lines if not line.startswith("?? ")) + "\n")
            documents.append(document)
            for line in lines:
                if line.startswith("?? "):
                    questions.append(_question(line, document, seen))
    return documents, questions


def off_topic() -> Iterator[Question]:
    """Yield the questions that no document treats."""
    for number, line in enumerate((FOLDER / OFF_TOPIC).read_text(encoding="utf-8").splitlines()):
        language, text = line.split(" | ")
        yield Question(text=text, language=language, half=_half(number))


def _question(line: str, document: Document, seen: defaultdict[tuple[str, str], int]) -> Question:
    label, text, quote = line.removeprefix("?? ").split(" | ")
    kind, language = label.split()
    if kind not in KINDS or in_one_line(quote) not in in_one_line(document.text):
        raise ValueError(f"{document.name}: wrong label or quote: {line}")
    number = seen[kind, language]
    seen[kind, language] += 1
    return Question(
        text=text, language=language, half=_half(number), kind=kind, document=document.name, quote=in_one_line(quote)
    )


def _half(number: int) -> Half:
    return "held-out" if number % 2 else "open"
