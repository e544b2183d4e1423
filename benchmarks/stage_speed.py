"""The stages' time and memory on the samples and on generated documents, of this build against an earlier one.

Both builds run with this interpreter and these libraries, and with the same embedding model, in processes of their
own, in turn: baseline, this, this, baseline, and so on. A figure is the median of the rounds. Only documents that both
builds read are compared; the others are named. Generated documents are of every format that a writer is at hand for.

Bar: the four stages take at most 1.15 times as long in all.

Usage: python -m benchmarks.stage_speed [--baseline COMMIT] [--rounds 5] [--generated 200]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.corpus.many_formats import write_many_formats

TIME_BAR = 1.15
# The build before plain text, Word, workbooks and mails had readers of their own.
BASELINE = "28b8ea3"
ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = Path(__file__).parent / "programs" / "stage_pass.py"


@dataclass(frozen=True)
class Pass:
    """One pass of a build: seconds by document and stage, and what `stage_pass` says besides."""

    seconds: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, str]
    first_seconds: float
    peak_bytes: int


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Yield a folder with the project as of *commit*; it goes with the block."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "baseline"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", tree, commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def one_pass(build: Path, home: Path, documents: Path) -> Pass:
    """Return what one pass of *build* over the documents that the file *documents* lists took."""
    command = [sys.executable, _SCRIPT, build, home, documents]
    done = subprocess.run(command, cwd=build, stdout=subprocess.PIPE, check=True, text=True)
    return Pass(**json.loads(done.stdout))


def measure(builds: Mapping[str, Path], home: Path, documents: Path, rounds: int) -> dict[str, list[Pass]]:
    """Return the passes of each build; which one begins changes from round to round."""
    passes: dict[str, list[Pass]] = {name: [] for name in builds}
    for number in range(rounds):
        for name in list(builds) if number % 2 == 0 else reversed(list(builds)):
            passes[name].append(one_pass(builds[name], home, documents))
    return passes


def compared(passes: Mapping[str, Sequence[Pass]]) -> set[str]:
    """Return the documents that every build reads, and print those that one fails on."""
    for name, found in passes.items():
        for document, reason in found[0].failures.items():
            print(f"{name} fails on {document}: {reason}")
    return set.intersection(*(set(found[0].seconds) for found in passes.values()))


def median_seconds(passes: Sequence[Pass], wanted: Callable[[str, str], bool]) -> float:
    """Return the median, over *passes*, of the seconds of the documents and stages that are *wanted*."""
    return statistics.median(
        sum(
            seconds
            for document, stages in one.seconds.items()
            for stage, seconds in stages.items()
            if wanted(document, stage)
        )
        for one in passes
    )


def report(passes: Mapping[str, Sequence[Pass]], documents: set[str]) -> float:
    """Print a table of both builds, and return the ratio of all."""
    before, now = passes.values()
    stages = list(next(iter(now[0].seconds.values())))
    formats = sorted({document.rsplit(".", 1)[-1] for document in documents})
    groups: dict[str, Callable[[str, str], bool]] = {"all": lambda document, _: document in documents}
    for stage in stages:
        groups[stage] = lambda document, other, stage=stage: document in documents and other == stage
    for name in formats:
        groups[f".{name}"] = lambda document, _, name=name: document in documents and document.endswith(f".{name}")
        groups[f".{name} to Markdown"] = lambda document, stage, name=name: (
            document in documents and document.endswith(f".{name}") and stage == stages[0]
        )
    print(f"| {len(documents)} documents | baseline, s | this build, s | ratio |\n| --- | ---: | ---: | ---: |")
    for name, wanted in groups.items():
        old, new = median_seconds(before, wanted), median_seconds(now, wanted)
        print(f"| {name} | {old:.3f} | {new:.3f} | {new / old:.2f} |")
    for label, figure in (("first of each format, s", _first), ("peak memory, MiB", _peak)):
        old, new = figure(before), figure(now)
        print(f"| {label} | {old:.2f} | {new:.2f} | {new / old:.2f} |")
    return median_seconds(now, groups["all"]) / median_seconds(before, groups["all"])


def _first(passes: Sequence[Pass]) -> float:
    return statistics.median(one.first_seconds for one in passes)


def _peak(passes: Sequence[Pass]) -> float:
    return statistics.median(one.peak_bytes for one in passes) / 2**20


def main() -> int:
    """Measure, print the table, and return 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", default=BASELINE, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each build")
    parser.add_argument("--generated", type=int, default=200, help="how many documents are generated")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, checkout(given.baseline) as baseline:
        samples = sorted((ROOT / "samples").iterdir())
        generated = write_many_formats(Path(folder) / "documents", given.generated)
        listed = Path(folder) / "documents.json"
        listed.write_text(json.dumps([str(path) for path in (*samples, *generated)]))
        home = Path(folder) / "home"
        home.mkdir()
        builds = {"baseline": baseline, "this build": ROOT}
        # The model is made on first use and stays in the home.
        one_pass(ROOT, home, _only(samples[:1], folder))
        passes = measure(builds, home, listed, given.rounds)
    ratio = report(passes, compared(passes))
    print(f"\n{ratio:.3f} times the baseline's time (bar {TIME_BAR})")
    return 0 if ratio <= TIME_BAR else 1


def _only(paths: Sequence[Path], folder: str) -> Path:
    listed = Path(folder) / "first.json"
    listed.write_text(json.dumps([str(path) for path in paths]))
    return listed


if __name__ == "__main__":
    sys.exit(main())
