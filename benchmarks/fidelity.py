"""The cases of `tests/fidelity` as a table: this build beside markitdown, docling, pandoc and unstructured.

A peer makes Markdown and nothing else, so the cases that look in the Markdown of stage 2 are compared, on the peer's
own Markdown of the same input. This build's text has to be right as it stands, that of a peer in one of several
notations (`tests.fidelity.notation`). Cases of the header, of warnings, chunks and facts are this build's alone. A file
that a peer does not read is a failed case, and is counted as not read too. Peers are installed into environments of
their own, in ``--peers`` (kept, if named).

Bars: right in 0.95 of all cases, and in 1.5 times as many of the compared ones as the best peer. With ``--write`` the
table goes into `docs/fidelity.md`.

Usage: python -m benchmarks.fidelity [--peers FOLDER] [--write] [--faults PEER] [--only PEER...]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import AsyncResult
from pathlib import Path

from tests.fidelity.case import INPUTS, Case, all_cases, views
from tests.fidelity.notation import readings

SHARE_BAR, PEER_BAR = 0.95, 1.5
OURS = "waybill"
PAGE = Path(__file__).parents[1] / "docs" / "fidelity.md"
# Without the extras for models and for services on the internet; docling and unstructured would install torch for PDF.
PEERS = {
    "markitdown": "markitdown[docx,pptx,xlsx,xls,pdf,outlook]==0.1.9",
    "docling": "docling-slim[convert-core,format-office,format-html,format-markdown,format-web,format-email,"
    "format-opendocument,format-latex,format-xml-jats]==2.143.0",
    "pandoc": "pypandoc-binary==1.17",
    "unstructured": "unstructured[docx,pptx,xlsx,csv,tsv,md,odt,epub,rtf,org,rst]==0.27.35",
}
_SECONDS_PER_FILE = 60.0
_TABLE = re.compile(r"(<!-- fidelity -->\n).*?(?=<!-- end -->)", re.DOTALL)
_ADAPTERS = Path(__file__).parent / "programs" / "document_peers.py"
# File-name ends by the names of formats in the table.
_FORMATS = {
    "Plain text": ("txt", "log"),
    "Markdown": ("md",),
    "Word": ("docx", "docm", "doc"),
    "Workbooks": ("xlsx", "xls", "xlsm", "xlsb"),
    "Presentations": ("pptx", "ppsx", "ppt"),
    "OpenDocument": ("odt", "ods", "odp"),
    "RTF": ("rtf",),
    "PDF": ("pdf",),
    "Images": ("png", "jpg", "jpeg", "gif", "bmp", "tiff", "tif", "webp"),
    "Web pages": ("html", "htm", "xhtml"),
    "Books": ("epub", "fb2"),
    "Notebooks": ("ipynb",),
    "Mail": ("eml", "msg", "mht", "mhtml"),
    "Tables of text": ("csv", "tsv"),
}
_OTHER = "TeX and other markup"


@dataclass(frozen=True)
class Outcome:
    """Whether a case is right, and whether its input was read at all."""

    right: bool
    read: bool = True


def judge(case: Case, text: str | None) -> Outcome:
    """Return the outcome of *case* for this build's *text*: as it stands; None if the input was not read."""
    return Outcome(right=text is not None and not case.faults(text), read=text is not None)


def judge_mildly(case: Case, text: str | None) -> Outcome:
    """Return the outcome of *case* for a peer's *text*: right if it is so in one of its notations."""
    if text is None:
        return Outcome(right=False, read=False)
    read = zip(_in_each_notation(case), readings(text), strict=True)
    return Outcome(right=any(not one.faults(reading) for one, reading in read))


def _in_each_notation(case: Case) -> Iterator[Case]:
    fields = {"must_contain": case.must_contain, "must_contain_one_of": case.must_contain_one_of}
    fields["must_not_contain"] = case.must_not_contain
    read = {name: list(zip(*map(readings, parts), strict=True)) for name, parts in fields.items()}
    for number, _ in enumerate(readings("")):
        yield replace(case, **{name: parts[number] for name, parts in read.items() if parts})


def is_compared(case: Case) -> bool:
    """Whether peers make what *case* looks in."""
    return case.look_in == "optimised"


def format_of(case: Case) -> str:
    """Return the name of the input's format, as the sections of the page have it."""
    ending = case.input.rsplit(".", 1)[-1].lower()
    return next((name for name, endings in _FORMATS.items() if ending in endings), _OTHER)


def our_views(cases: Sequence[Case]) -> dict[tuple[str, str], dict[str, str]]:
    """Return what this build makes of each input, by input and options; nothing for one that it does not read."""
    wanted = sorted({(case.input, json.dumps(case.options, sort_keys=True)) for case in cases})
    with multiprocessing.get_context("forkserver").Pool(2) as pool:  # its end kills what has not ended in time
        running = [pool.apply_async(views, one) for one in wanted]
        return {one: _in_time(result) for one, result in zip(wanted, running, strict=True)}


def _in_time(result: AsyncResult[dict[str, str]]) -> dict[str, str]:
    try:
        return result.get(_SECONDS_PER_FILE)
    except Exception as error:  # noqa: BLE001 - whatever it is, the input is not read
        print(f"{OURS}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return {}


def peer_texts(peer: str, environment: Path, inputs: Iterable[str]) -> dict[str, str]:
    """Return the Markdown that *peer* makes of each input that it reads."""
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PEERS[peer]], check=True)
    names = sorted(inputs)
    with tempfile.TemporaryDirectory() as made:
        arguments = [peer, made, str(_SECONDS_PER_FILE), *(str(INPUTS / name) for name in names)]
        done = subprocess.run([python, _ADAPTERS, *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{peer}: {done.stderr[-2000:]}")
        for name in names:
            error = Path(made) / f"{name}.error"
            if error.exists():
                print(f"{peer}: {name}: {error.read_text()}", file=sys.stderr)
        # As the stages' own views: a line end before and after, which cases ask for at the edges.
        return {
            name: f"\n{path.read_text(encoding='utf-8')}\n"
            for name in names
            if (path := Path(made) / f"{name}.md").exists()
        }


def table(cases: Sequence[Case], outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Return the tables of the page: compared cases by format and by kind, and what is looked in here alone."""
    compared = [case for case in cases if is_compared(case)]
    alone = [case for case in cases if not is_compared(case)]
    parts = [
        _summary(cases, compared, outcomes),
        _rows("format", _grouped(compared, [*_FORMATS, _OTHER]), outcomes, [*outcomes]),
        "What only this build makes of them:\n",
        _rows("looked in", _by(alone, lambda case: case.look_in), outcomes, [OURS]),
        "The compared ones by the kind of fault that they are an example of:\n",
        _rows("kind", _by(compared, _kind_of), outcomes, [*outcomes]),
    ]
    return "\n".join(parts)


def _kind_of(case: Case) -> str:
    return "none: guards what was right from the start" if case.kind == "passes" else case.kind


def _summary(cases: Sequence[Case], compared: Sequence[Case], outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    ours = sum(outcomes[OURS][case.id].right for case in cases)
    return (
        f"{ours} of all {len(cases)} cases are right here. {len(compared)} of them look in the Markdown and are\n"
        "compared; a number in brackets counts cases whose input the converter does not read.\n"
    )


def _grouped(cases: Sequence[Case], order: Sequence[str]) -> dict[str, list[Case]]:
    found = _by(cases, format_of)
    return {name: found[name] for name in order if name in found} | {"**all**": list(cases)}


def _by(cases: Sequence[Case], key: Callable[[Case], str]) -> dict[str, list[Case]]:
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[key(case)].append(case)
    return dict(sorted(groups.items()))


def _rows(
    head: str, groups: Mapping[str, Sequence[Case]], outcomes: Mapping[str, Mapping[str, Outcome]], who: Sequence[str]
) -> str:
    rows = [(head, "cases", *who), ("---", *("---:" for _ in range(len(who) + 1)))]
    for name, cases in groups.items():
        rows.append((name, str(len(cases)), *(_cell(cases, outcomes[one]) for one in who)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    found = [outcomes[case.id] for case in cases if case.id in outcomes]
    if not found:
        return ""
    unread = sum(not one.read for one in found)
    return f"{sum(one.right for one in found)}" + (f" ({unread})" if unread else "")


def measure(cases: Sequence[Case], peers: Path, chosen: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """Return the outcome of each case by its id, for this build and for each peer."""
    ours = our_views(cases)
    outcomes = {
        OURS: {
            case.id: judge(case, ours[case.input, json.dumps(case.options, sort_keys=True)].get(case.look_in))
            for case in cases
        }
    }
    compared = [case for case in cases if is_compared(case)]
    for peer in chosen:
        texts = peer_texts(peer, peers / peer, {case.input for case in compared})
        outcomes[peer] = {case.id: judge_mildly(case, texts.get(case.input)) for case in compared}
    return outcomes


def passed(cases: Sequence[Case], outcomes: Mapping[str, Mapping[str, Outcome]]) -> bool:
    """Print what the bars ask for, and return whether both are met."""
    right = {who: sum(one.right for one in found.values()) for who, found in outcomes.items()}
    share = right[OURS] / len(cases)
    ours = sum(outcomes[OURS][case.id].right for case in cases if is_compared(case))
    best = max((count for who, count in right.items() if who != OURS), default=0)
    print(f"right: {right[OURS]} of {len(cases)} cases, {share:.3f} (bar {SHARE_BAR})")
    print(f"compared: {ours}, best peer {best}, {ours / max(best, 1):.2f} times (bar {PEER_BAR})")
    return share >= SHARE_BAR and ours >= PEER_BAR * best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments; made at first")
    parser.add_argument("--only", nargs="*", choices=sorted(PEERS), default=list(PEERS), help="only these peers")
    parser.add_argument("--write", action="store_true", help="write the table into docs/fidelity.md")
    parser.add_argument("--faults", nargs="*", default=[], help="print the faults of these, such as waybill or pandoc")
    given = parser.parse_args(arguments)
    cases = list(all_cases())
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = measure(cases, given.peers or Path(temporary), given.only)
    for who in given.faults:
        print(who, *(case_id for case_id, one in outcomes[who].items() if not one.right))
    text = table(cases, outcomes)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_TABLE.sub(lambda found: f"{found[1]}{text}", page), encoding="utf-8")
    return 0 if passed(cases, outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
