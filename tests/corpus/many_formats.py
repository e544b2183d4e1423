"""Generated documents in every format that a writer is at hand for: the texts of `tests.corpus.generated`, in turn.

The same count gives the same documents. Workbooks and CSV files have a table of figures and words, the others headings,
paragraphs, lists and tables.
"""

from __future__ import annotations

import csv
import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from tests.corpus.generated import DEFAULT_SEED, write_documents
from tools.sample_writers.ebook import write_ebook
from tools.sample_writers.hypertext import element
from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table, Text, blocks_of
from tools.sample_writers.notebook import write_notebook
from tools.sample_writers.opendocument import write_opendocument
from tools.sample_writers.pdf import write_pdf
from tools.sample_writers.slides import write_slides
from tools.sample_writers.word import write_word
from tools.sample_writers.workbook import write_workbook

_ROWS = 120


@dataclass(frozen=True)
class Source:
    """One generated text: as Markdown and as blocks, with the header that the writers ask for."""

    number: int
    markdown: str
    text: Text

    @property
    def html_body(self) -> str:
        """Return the blocks as elements of a page."""
        return "\n".join(map(element, self.text.blocks))


def write_many_formats(folder: Path, count: int) -> list[Path]:
    """Write *count* documents into *folder* (made if missing), each format in turn, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "texts"
    texts = [path for path in write_documents(scratch, 2 * count) if path.suffix == ".md"]
    paths: list[Path] = []
    for number, markdown in enumerate(texts):
        extension, write = list(_WRITERS.items())[number % len(_WRITERS)]
        path = folder / f"{markdown.stem}.{extension}"
        path.write_bytes(write(_source(number, markdown.read_text(encoding="utf-8"))))
        paths.append(path)
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    return paths


def _source(number: int, markdown: str) -> Source:
    # The writer of PDF knows two levels of headings.
    blocks = tuple(
        replace(block, level=min(block.level, 2)) if isinstance(block, Heading) else block
        for block in blocks_of(markdown)
    )
    title = next(block.text for block in blocks if isinstance(block, Heading))
    header = {
        "title": title, "subtitle": "Generated", "author": "Ada Keeper", "subject": title, "keywords": "one, two",
        "date": "2025-04-01",
    }  # fmt: skip
    return Source(number, markdown, Text(header, blocks))


def _table(source: Source) -> list[list[str]]:
    chance = random.Random(f"{DEFAULT_SEED}/{source.number}/table")
    words = source.markdown.split()
    rows = [["Number", "Station", "Wear (mm)", "Share", "Remark"]]
    for number in range(_ROWS):
        remark = " ".join(chance.choices(words, k=6)).replace("|", "")
        figures = f"{chance.uniform(0, 9):.2f}", f"{chance.random():.3f}"
        rows.append([str(number), chance.choice(("Lower", "Upper", "Summit")), *figures, remark])
    return rows


def _csv(source: Source) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows(_table(source))
    return stream.getvalue().encode()


def _workbook(source: Source) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(_csv(source))
        properties = {"title": source.text.header["title"], "created": datetime(2025, 4, 1, tzinfo=UTC)}
        return write_workbook([("Wear", path), ("Again", path)], properties)


def _mail(source: Source) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Ada Keeper <ada@orvane.example>"
    message["To"] = "club@orvane.example"
    message["Subject"] = source.text.header["title"]
    message["Date"] = "Tue, 01 Apr 2025 12:00:00 +0000"
    message.set_content(_plain(source).decode())
    if source.number % 2:
        message.add_alternative(f"<html><body>{source.html_body}</body></html>", subtype="html")
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"generated-{number}")
    return message.as_bytes()


def _plain(source: Source) -> bytes:
    return "\n\n".join(_plain_block(block) for block in source.text.blocks).encode()


def _plain_block(block: Block) -> str:
    match block:
        case Heading(_, text):
            return f"{text}\n{'-' * len(text)}"
        case Paragraph(text):
            return text
        case Items(texts, _):
            return "\n".join(f"* {text}" for text in texts)
        case Table(header, rows):
            return "\n".join("".join(f"{cell:<24}" for cell in row).rstrip() for row in (header, *rows))
        case _:
            return ""


def _page(source: Source) -> bytes:
    title = source.text.header["title"]
    head = f"<!DOCTYPE html>\n<html lang='en'><head><title>{title}</title></head>\n"
    return f"{head}<body>{source.html_body}</body></html>".encode()


def _rtf(source: Source) -> bytes:
    lines = (line for block in source.text.blocks for line in _plain_block(block).splitlines())
    body = "".join(f"{_rtf_text(line)}\\par\n" for line in lines)
    return f"{{\\rtf1\\ansi\\ansicpg1252\\deff0{{\\fonttbl{{\\f0 Arial;}}}}\\f0\\fs22\n{body}}}".encode("ascii")


def _rtf_text(line: str) -> str:
    return "".join(f"\\u{ord(sign)}?" if ord(sign) > 126 else f"\\{sign}" if sign in "\\{}" else sign for sign in line)


def _latex(source: Source) -> bytes:
    body = "\n\n".join(_latex_block(block) for block in source.text.blocks)
    return f"\\documentclass{{article}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n".encode()


def _latex_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"\\{'sub' * (level - 1)}section{{{text}}}"
        case Items(texts, numbered):
            kind = "enumerate" if numbered else "itemize"
            items = "\n".join(f"\\item {text}" for text in texts)
            return f"\\begin{{{kind}}}\n{items}\n\\end{{{kind}}}"
        case Table(header, rows):
            lines = " \\\\\n".join(" & ".join(row) for row in (header, *rows))
            return f"\\begin{{tabular}}{{{'l' * len(header)}}}\n{lines}\n\\end{{tabular}}"
        case _:
            return _plain_block(block)


_WRITERS: dict[str, Callable[[Source], bytes]] = {
    "md": lambda source: source.markdown.encode(),
    "docx": lambda source: write_word(source.text, language="en"),
    "xlsx": _workbook,
    "pptx": lambda source: write_slides(source.text),
    "odt": lambda source: write_opendocument(source.text, language="en"),
    "rtf": _rtf,
    "pdf": lambda source: write_pdf(source.text, language="en", page_word="Page"),
    "html": _page,
    "epub": lambda source: write_ebook(source.text, language="en", identifier=f"urn:waybill:{source.number}"),
    "ipynb": lambda source: write_notebook(source.markdown, language="en"),
    "eml": _mail,
    "csv": _csv,
    "tex": _latex,
    "txt": _plain,
}
