"""Every hostile document, by name: `HOSTILE["zip-bomb-docx"].write_into(folder)`.

Each is written in under two seconds and, unless its case says otherwise, with the same bytes each time. Folders and
file names that are hostile are in `tests.corpus.hostile_folders`.
"""

from __future__ import annotations

from tests.corpus.hostile_case import HostileCase
from tests.corpus.hostile_office import OFFICE_CASES
from tests.corpus.hostile_pdf import PDF_CASES
from tests.corpus.hostile_text import TEXT_CASES

HOSTILE: dict[str, HostileCase] = {case.name: case for case in (*PDF_CASES, *OFFICE_CASES, *TEXT_CASES)}
