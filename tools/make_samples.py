"""Make the documents in `samples/` from the texts in `tools/sample_texts/`: `python -m tools.make_samples`.

The same texts give the same bytes each time and on every machine (with the locked versions of the libraries), so the
documents are committed and a test compares them with what this program makes. All of them are about the Orvane
Railway, which does not exist; places, persons and organisations are invented.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tools.sample_writers.ebook import write_ebook
from tools.sample_writers.mail import write_mail
from tools.sample_writers.markup import Text, read_text
from tools.sample_writers.notebook import write_notebook
from tools.sample_writers.opendocument import write_opendocument
from tools.sample_writers.pdf import write_pdf
from tools.sample_writers.slides import write_slides
from tools.sample_writers.word import write_word
from tools.sample_writers.workbook import write_workbook

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "tools" / "sample_texts"
SAMPLES = ROOT / "samples"


def _text(name: str) -> Text:
    return read_text(TEXTS / name)


def _source(name: str) -> str:
    return (TEXTS / name).read_text(encoding="utf-8")


def _figures() -> bytes:
    titles = {
        "Annual": "annual",
        "Monthly 2024": "monthly-2024",
        "Energy": "energy",
        "Fleet": "fleet",
        "Stations": "stations",
        "Notes": "notes",
    }
    return write_workbook(
        [(title, TEXTS / "figures" / f"{name}.csv") for title, name in titles.items()],
        {
            "title": "Operating figures 2019 to 2024",
            "author": "Orvane Railway Company",
            "subject": "Passengers, punctuality, energy and fleet",
            "created": datetime(2025, 2, 3, tzinfo=UTC),
        },
    )


# What lies in `samples/`, and how each document is made.
DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "orvane-railway-history.pdf": lambda: write_pdf(_text("history.en.md"), language="en", page_word="Page"),
    "dienstvorschrift-zahnradbetrieb.pdf": lambda: write_pdf(
        _text("rack-rules.de.md"), language="de", page_word="Seite"
    ),
    "lauigraben-viaduct-report.docx": lambda: write_word(_text("viaduct-report.en.md"), language="en"),
    "kirigasawa-sister-railway.docx": lambda: write_word(
        _text("sister-railway.ja.md"), language="ja", east_asian_font="Yu Mincho"
    ),
    "railcars-31-34-briefing.pptx": lambda: write_slides(_text("railcars.en.md")),
    "operating-figures-2019-2024.xlsx": _figures,
    "visitor-guide.html": lambda: _source("visitor-guide.html").encode(),
    "snow-clearance-handbook.md": lambda: _source("snow-handbook.md").encode(),
    "betriebsstoerungen-2024.csv": lambda: _source("incidents-2024.csv").encode(),
    "rack-bar-wear.eml": lambda: write_mail(_source("rack-wear.mail.md")),
    # Windows-1252 with its line ends: the encoding of most plain text that offices have kept.
    "assemblee-generale-2025.txt": lambda: (
        _source("annual-meeting.fr.txt").replace("\n", "\r\n").encode("windows-1252")
    ),
    "sous-station-lauigraben.odt": lambda: write_opendocument(_text("substation.fr.md"), language="fr"),
    "the-return-of-no-3.epub": lambda: write_ebook(
        _text("locomotive-3.en.md"), language="en", identifier="urn:uuid:6f1c6c0e-3f0b-5c67-9d0a-0b5a6f0d1899"
    ),
    "energy-recovery.ipynb": lambda: write_notebook(_source("energy.en.md"), language="en"),
}


def make_samples(folder: Path) -> list[Path]:
    """Write every sample into *folder* and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, make in DOCUMENTS.items():
        path = folder / name
        path.write_bytes(make())
        paths.append(path)
    return paths


if __name__ == "__main__":
    for made in make_samples(SAMPLES):
        print(f"{made.stat().st_size:>8} {made.relative_to(ROOT)}")
