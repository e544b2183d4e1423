"""Real passages for `benchmarks.search_scale`: text of documents on this machine, divided and embedded by this build.

Takes HTML pages and plain texts below *documents*, a few from each folder in turn so that no subject prevails, through
stages 1 to 3, and writes ``real/NUMBER.npy`` (vectors) and ``real/NUMBER.jsonl`` (title, headings, language, text) to
the data folder, a thousand passages each. NUMBER is that of the next document, where a later call goes on. A passage
takes about 17 ms of processor time. Texts that were there before are left out, since manuals repeat their navigation.

The figures of docs/adr/0031-search-at-scale.md are of Debian 12's documentation:

    apt-get download python3.11-doc postgresql-doc-15 debian-reference-{en,de,fr,es,it} debian-handbook debian-policy \\
        developers-reference git-doc sqlite3-doc apache2-doc aptitude-doc-en python-django-doc linux-doc-6.1 \\
        octave-doc r-doc-html bash-doc gimp-help-en debian-faq
    for deb in *.deb; do dpkg-deb -x $deb DOCUMENTS; done

Usage: python -m benchmarks.search_real DOCUMENTS DATA [--passages 12000]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval import indexed
from benchmarks.retrieval_set import Document
from blocks.errors import WaybillError
from tasks.chunk import ChunkOptions

# Pages of one subject each; a whole manual in one file has as many passages as hundreds of those.
SMALLEST_BYTES, LARGEST_BYTES = 1_500, 30_000
PASSAGES_PER_PART = 1_000
# Shorter ones are mostly navigation: "Prev / Up / Next".
SHORTEST_CHARACTERS = 80
# Enough for a hundred questions of a kind.
HELD_OUT_PAGES = 100


def pages_of(documents: Path) -> list[Path]:
    """Return the pages below *documents*, one of each package in turn, always in the same order."""
    packages: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in sorted(documents.rglob("*")):
        is_page = path.suffix in {".html", ".txt"} and path.is_file() and not path.is_symlink()
        if is_page and SMALLEST_BYTES <= path.stat().st_size <= LARGEST_BYTES:
            packages[path.parent.relative_to(documents).parts[:5]].append(path)
    chance = random.Random(1)
    for pages in packages.values():
        chance.shuffle(pages)
    return [page for page in chain(*zip_longest(*packages.values())) if page is not None]


def read_real(data: Path) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """Return the vectors, normalised, and the records of the passages in *data*."""
    parts = sorted((data / "real").glob("*.npy"))
    records = [json.loads(line) for part in parts for line in part.with_suffix(".jsonl").open(encoding="utf-8")]
    vectors = np.concatenate([np.load(part) for part in parts]) if parts else np.empty((0, 384), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), records


def held_out_and_rest(records: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Return the numbers of a passage of each of some pages, and those of the passages of all other pages."""
    titles = list(dict.fromkeys(record["title"] for record in records))
    held = set(titles[:: max(1, len(titles) // HELD_OUT_PAGES)])
    first = {record["title"]: number for number, record in reversed(list(enumerate(records)))}
    rest = [number for number, record in enumerate(records) if record["title"] not in held]
    return sorted(first[title] for title in held), rest


def passages_of(page: Path, models: Path, seen: set[str]) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Yield the passages of *page* that are not in *seen*, and add them; none of a page that cannot be read."""
    text = page.read_text(encoding="utf-8", errors="replace")
    try:
        made = indexed(Document(page.name, text), models, ChunkOptions())
    except WaybillError:
        return
    for chunk in made.chunks:
        if len(chunk.text) >= SHORTEST_CHARACTERS and chunk.text not in seen and chunk.embedding is not None:
            seen.add(chunk.text)
            record = {"title": made.head.title, "heading_path": list(chunk.heading_path),
                      "language": made.head.language, "text": chunk.text}  # fmt: skip
            yield record, chunk.embedding


def gather(documents: Path, data: Path, passages: int) -> int:
    """Write parts until there are *passages* of them, or no more pages; return how many there are."""
    folder = data / "real"
    folder.mkdir(parents=True, exist_ok=True)
    parts = sorted(folder.glob("*.npy"))
    seen = {record["text"] for record in read_real(data)[1]}
    pages = pages_of(documents)
    waiting: list[tuple[dict[str, Any], NDArray[np.float32]]] = []
    written = len(seen)
    for number in range(int(parts[-1].stem) if parts else 0, len(pages)):
        if written >= passages:
            break
        waiting += passages_of(pages[number], data / "models", seen)
        if len(waiting) >= PASSAGES_PER_PART or number + 1 == len(pages):
            lines = "".join(json.dumps(record) + "\n" for record, _ in waiting)
            (folder / f"{number + 1:06}.jsonl").write_text(lines, encoding="utf-8")
            np.save(folder / f"{number + 1:06}.npy", np.array([vector for _, vector in waiting], np.float32))
            written += len(waiting)
            waiting.clear()
            print(f"{written:,} passages of {number + 1:,} pages", flush=True)
    return written


def main() -> int:
    """Gather, and return 1 when there are fewer passages than asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--passages", type=int, default=12_000)
    arguments = parser.parse_args()
    return 0 if gather(arguments.documents, arguments.data, arguments.passages) >= arguments.passages else 1


if __name__ == "__main__":
    sys.exit(main())
