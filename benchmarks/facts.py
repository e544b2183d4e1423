"""Precision and recall of stage 4's dates, money, percentages, quantities and statements, beside public libraries.

The labelled texts are in `benchmarks/facts/` (its README says what counts as what), in seven languages. A mention of
this build is right if its type, its exact place and its value are right; a mention without a value, where the text has
one, is not wrong but not found either. A statement is right if it is exactly one sentence of the text.

Peers see the same texts and are judged more mildly: the place only has to overlap, a date has to agree as far as the
label goes. Each peer runs in an environment of its own, which is made at first in ``--environments``.

Usage: python -m benchmarks.facts [--half open|held-out] [--peers] [--faults] [--environments FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from blocks.sentences import sentence_spans
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.passages import Passage
from tasks.extraction.rules import find_mentions, select_facts

TEXTS = Path(__file__).with_name("facts")
PRECISION_BAR = 0.97
TYPES = {"d": "date", "m": "money", "p": "percent", "q": "quantity"}
# What users would take, and for what; the adapters are in `programs/fact_peers.py`.
PEERS = {
    "dateparser": "dateparser==1.5.0",
    "datefinder": "datefinder==1.0.0",
    "price-parser": "price-parser==0.5.1",
    "quantulum3": "quantulum3==0.10.0",
    "recognizers": "recognizers-text-suite==1.0.2a2 emoji==1.7.0",
    "pysbd": "pysbd==0.3.4",
    "syntok": "syntok==1.4.4",
    "sentencex": "sentencex==1.0.32",
    "blingfire": "blingfire==0.1.8 numpy==2.3.5",
}
_MARK = re.compile(r"\{([dmpq]) ([^|{}]*)\|([^{}]*)\}")


@dataclass(frozen=True)
class Label:
    """A mention as a person labelled it; `value` is empty where none may be given."""

    start: int
    end: int
    type: str
    value: str


@dataclass(frozen=True)
class Document:
    """A labelled text; `sentences` are the places of its sentences of prose."""

    language: str
    kind: str
    text: str
    labels: list[Label] = field(default_factory=list[Label])
    sentences: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def documents(half: str) -> Iterator[Document]:
    """Yield the labelled documents of one half, or of both for ``*``."""
    for path in sorted(TEXTS.glob(f"*.{half}.txt")):
        for part in path.read_text().split("=== ")[1:]:
            kind, _, body = part.partition("\n")
            yield _document(path.name[:2], kind, body.strip("\n"))


def _document(language: str, kind: str, body: str) -> Document:
    text = ""
    labels: list[Label] = []
    sentences: list[tuple[int, int]] = []
    for line in body.split("\n"):
        start = len(text)
        place = 0
        for mark in _MARK.finditer(line):
            text += line[place : mark.start()]
            value = "" if mark[2] == "?" else mark[2]
            labels.append(Label(len(text), len(text) + len(mark[3]), TYPES[mark[1]], value))
            text += mark[3]
            place = mark.end()
        text += line[place:]
        if line and line[0] != "|":
            sentences.append((start, len(text)))
        text += " " if line and line[0] != "|" else "\n"
    return Document(language, kind, re.sub(r" \n", "\n\n", text)[: len(text)], labels, sentences)


def mentions(document: Document) -> list[tuple[int, int, str, str]]:
    """Return what this build finds of the labelled types."""
    found = find_mentions([_passage(document)], document.language, Gazetteer({}))
    mentions = [one.mention for one in found if one.mention.type in TYPES.values()]
    return [(one.start, one.end, one.type, one.value) for one in mentions]


def statements(document: Document) -> list[tuple[int, int]]:
    """Return the places of this build's statements, without rows of tables."""
    passage = _passage(document)
    found = find_mentions([passage], document.language, Gazetteer({}))
    facts = select_facts([passage], found, [], document.language, 10_000)
    return [(fact.start, fact.end) for fact in facts if fact.type != "row"]


def _passage(document: Document) -> Passage:
    return Passage(id="1", ordinal=0, start=0, text=document.text, tokens=0)


def same_value(found: str, label: str) -> bool:
    """Return whether two values are equal, however their numbers are written ("3.5e6 EUR", "3500000 EUR")."""
    return [_number(word) for word in found.split()] == [_number(word) for word in label.split()]


def _number(word: str) -> object:
    sign = re.match(r"[±~≥≤<>≈]*", word)
    try:
        return (sign[0] if sign else "", Decimal(word[sign.end() if sign else 0 :]))
    except InvalidOperation:
        return word


class Score:
    """Counts of one type in one language."""

    def __init__(self) -> None:
        self.right = self.wrong = self.labelled = self.without_value = 0

    def __iadd__(self, other: Score) -> Score:
        self.right += other.right
        self.wrong += other.wrong
        self.labelled += other.labelled
        self.without_value += other.without_value
        return self

    @property
    def precision(self) -> float:
        given = self.right + self.wrong + self.without_value
        return 1 - self.wrong / given if given else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.labelled if self.labelled else 1.0

    def __str__(self) -> str:
        return f"{self.precision:.3f} / {self.recall:.3f} ({self.right} of {self.labelled}, {self.wrong} wrong)"


Scores = dict[tuple[str, str], Score]


def judge(document: Document, found: Iterable[tuple[int, int, str, str]], scores: Scores, faults: list[str]) -> None:
    """Count the mentions that this build found in *document*."""
    labels = {(label.type, label.start, label.end): label for label in document.labels}
    for label in document.labels:
        scores[label.type, document.language].labelled += 1
    seen: set[tuple[str, int, int]] = set()
    for start, end, kind, value in found:
        score = scores[kind, document.language]
        label = labels.get((kind, start, end))
        seen.add((kind, start, end))
        quote = document.text[start:end]
        context = document.text[max(0, start - 20) : end + 20].replace("\n", " ")
        if label is None or (value and not same_value(value, label.value)):
            score.wrong += 1
            faults.append(f"{document.language} wrong  {kind} {quote!r} {value!r} in {context!r}")
        elif bool(value) == bool(label.value):
            score.right += 1
        else:
            score.without_value += 1
            faults.append(f"{document.language} no value {kind} {quote!r} in {context!r}")
    for key, label in labels.items():
        if key not in seen:
            context = document.text[max(0, label.start - 20) : label.end + 20].replace("\n", " ")
            faults.append(
                f"{document.language} missed {label.type} {document.text[label.start : label.end]!r} in {context!r}"
            )


def judge_statements(document: Document, found: Iterable[tuple[int, int]], scores: Scores, faults: list[str]) -> None:
    """Count the statements; every sentence with a date or an amount and at least 20 characters has to be one."""
    score = scores["statement", document.language]
    wanted = {
        (start, end)
        for start, end in document.sentences
        if end - start >= 20 and any(start <= label.start < end for label in document.labels)
    }
    score.labelled += len(wanted)
    given = set(found)
    score.right += len(given & wanted)
    for start, end in sorted(given - set(document.sentences)):
        score.wrong += 1
        faults.append(f"{document.language} torn {document.text[start:end]!r}")
    for start, end in sorted(wanted - given):
        faults.append(f"{document.language} lacks {document.text[start:end]!r}")


def measure(half: str) -> tuple[Scores, list[str]]:
    """Return the scores of this build on one half, and what is wrong."""
    scores: Scores = defaultdict(Score)
    faults: list[str] = []
    for document in documents(half):
        judge(document, mentions(document), scores, faults)
        judge_statements(document, statements(document), scores, faults)
    return scores, faults


def table(scores: Scores) -> Iterator[str]:
    """Yield a Markdown table of precision / recall, types as rows and languages as columns."""
    languages = sorted({language for _, language in scores})
    yield f"| type | all | {' | '.join(languages)} |"
    yield f"| --- |{' --- |' * (len(languages) + 1)}"
    for kind in (*TYPES.values(), "statement"):
        whole = Score()
        for language in languages:
            whole += scores[kind, language]
        cells = (f"{scores[kind, one].precision:.2f} / {scores[kind, one].recall:.2f}" for one in languages)
        yield f"| {kind} | {whole} | {' | '.join(cells)} |"


# Peers ----------------------------------------------------------------------------------------------------------------


def peer(name: str, half: str, environments: Path) -> Iterator[str]:
    """Run one peer on the documents of *half* and yield a row of the table for each type that it finds."""
    python = _environment(name, environments)
    given = [{"language": document.language, "text": document.text} for document in documents(half)]
    adapter = Path(__file__).parent / "programs" / "fact_peers.py"
    run = subprocess.run([python, adapter, name], input=json.dumps(given), capture_output=True, text=True, check=False)
    if run.returncode:
        yield f"| {name} | failed: {run.stderr.strip().splitlines()[-1][:150]} |"
        return
    answers: list[dict[str, Any]] = json.loads(run.stdout)
    scores: dict[str, Score] = defaultdict(Score)
    for document, answer in zip(documents(half), answers, strict=True):
        if answer is None:  # a language that it does not know
            continue
        for kind, found in answer.items():
            _judge_mildly(document, kind, found, scores[kind])
    for kind, score in scores.items():
        yield f"| {PEERS[name]} | {kind} | {score} |"


def _judge_mildly(document: Document, kind: str, found: list[list[Any]], score: Score) -> None:
    if kind == "sentence":
        score.labelled += len(document.sentences)
        whole = {(start, end) for start, end in document.sentences}
        given = {(start, end) for start, end, _ in found}
        score.right += len(whole & given)
        score.wrong += len(given - whole)
        return
    labels = [label for label in document.labels if label.type == kind]
    score.labelled += len(labels)
    used: Counter[int] = Counter()
    for start, end, value in found:
        hits = [at for at, label in enumerate(labels) if label.start < end and start < label.end and not used[at]]
        right = [at for at in hits if _agrees(kind, value, labels[at].value)]
        if right:
            used[right[0]] += 1
            score.right += 1
        else:
            score.wrong += 1


def sentences(half: str) -> str:
    """Return this build's row of the peers' table for sentences: all of them, also those without a mention."""
    score = Score()
    for document in documents(half):
        lines = (line for line in re.finditer(r"[^\n]+", document.text) if line[0][0] != "|")
        found = [
            [line.start() + start, line.start() + end, ""]
            for line in lines
            for start, end in sentence_spans(line[0], document.language)
        ]
        _judge_mildly(document, "sentence", found, score)
    return f"| this build | sentence | {score} |"


def _agrees(kind: str, found: str, label: str) -> bool:
    if kind == "date":
        return bool(label) and found.startswith(label)
    ours, theirs = label.split(" "), found.split(" ")
    return bool(label) and _number(ours[0]) == _number(theirs[0]) and (kind != "money" or ours[1] in found)


def _environment(name: str, environments: Path) -> str:
    folder = environments / name
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name].split()], check=True)
        (folder / "made").touch()
    return str(python)


def main() -> int:
    """Print the tables; fail if the precision of dates, money or quantities is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("open", "held-out"), help="only this half")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--faults", action="store_true", help="list what is wrong; not for the half that is held out")
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "waybill-fact-peers")
    options = parser.parse_args()
    low = False
    for half in [options.half] if options.half else ["open", "held-out"]:
        scores, faults = measure(half)
        print(f"\n{half}: precision / recall\n", *table(scores), sep="\n")
        if options.faults and half == "open":
            print("", *faults, sep="\n")
        for kind in ("date", "money", "quantity"):
            given = [score for (one, _), score in scores.items() if one == kind]
            wrong, right = sum(score.wrong for score in given), sum(score.right for score in given)
            low |= wrong > (1 - PRECISION_BAR) * (right + wrong)
    if options.peers:
        print("", "| library | type | precision / recall |", "| --- | --- | --- |", sentences("*"), sep="\n")
    for name in PEERS if options.peers else ():
        print(*peer(name, "*", options.environments), sep="\n")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
