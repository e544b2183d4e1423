"""Questions that the samples answer, each with the documents that do and the words to look for in them.

For tests and demonstrations of search. Where a fact stands in several documents, any of them is a right answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleQuestion:
    question: str
    documents: tuple[str, ...]
    words: str
    """Part of the answer as it stands in the documents, in one of them at least."""


SAMPLE_QUESTIONS = (
    SampleQuestion(
        "How much did the rehabilitation of the viaduct cost?",
        ("lauigraben-viaduct-report.docx", "orvane-railway-history.pdf"),
        "6.4 million francs",
    ),
    SampleQuestion(
        "Who was buried by the avalanche of 1917?",
        ("orvane-railway-history.pdf", "snow-clearance-handbook.md"),
        "four men",
    ),
    SampleQuestion(
        "At which wind speed is the viaduct closed?",
        ("snow-clearance-handbook.md", "visitor-guide.html", "lauigraben-viaduct-report.docx"),
        "90 km/h",
    ),
    SampleQuestion(
        "rack wear at kilometre 8.310",
        ("rack-bar-wear.eml", "railcars-31-34-briefing.pptx", "betriebsstoerungen-2024.csv"),
        "8.310",
    ),
    SampleQuestion(
        "How did the apprentices help to restore the steam locomotive's boiler?",
        ("the-return-of-no-3.epub",),
        "their apprentices built us the boiler",
    ),
    SampleQuestion(
        "What does a return ticket to Orvane Col cost?",
        ("visitor-guide.html",),
        "42 francs",
    ),
    SampleQuestion(
        "How much energy do descending trains return to the grid?",
        ("energy-recovery.ipynb", "railcars-31-34-briefing.pptx", "operating-figures-2019-2024.xlsx"),
        "436",
    ),
    SampleQuestion(
        "Why did the board buy new trains instead of keeping the railcars of 1968?",
        ("railcars-31-34-briefing.pptx",),
        "resistor brakes",
    ),
    SampleQuestion(
        "Bremsprobe vor der Talfahrt",
        ("dienstvorschrift-zahnradbetrieb.pdf",),
        "Zugkraft 20 Prozent",
    ),
    SampleQuestion(
        "Fehlalarm des Radars am Rauschbach",
        ("betriebsstoerungen-2024.csv", "dienstvorschrift-zahnradbetrieb.pdf"),
        "Fehlalarm",
    ),
    SampleQuestion(
        "crédit pour le remplacement de la crémaillère",
        ("assemblee-generale-2025.txt",),
        "1,85 million",
    ),
    SampleQuestion(
        "coût de la sous-station réversible",
        ("sous-station-lauigraben.odt",),
        "1,38 million",
    ),
    SampleQuestion(
        "姉妹鉄道の潤滑剤の試験",
        ("kirigasawa-sister-railway.docx",),
        "28パーセント",
    ),
)
