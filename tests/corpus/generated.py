"""Generated documents: realistic in length and shape, distinct, and the same for the same seed.

`write_documents` alternates Markdown and DOCX. It is quick (about 2 ms a document), because DOCX is written as the
few XML parts that a word processor needs and not through a library.
"""

from __future__ import annotations

import random
import re
import zipfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from tests.corpus import vocabulary
from tests.corpus.vocabulary import Field
from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table

DEFAULT_SEED = 20250401
FEWEST_WORDS, MOST_WORDS = 600, 1200
# The body stops growing here, so that its last table and list still fit under `MOST_WORDS`.
_BODY_WORDS = (560, 860)
_FIRST_DAY = date(2016, 1, 4)
_DAYS = 3400
_PERSONS = tuple(f"{given} {family}" for given in vocabulary.GIVEN_NAMES for family in vocabulary.FAMILY_NAMES)


def write_documents(folder: Path, count: int, seed: int = DEFAULT_SEED) -> list[Path]:
    """Write *count* distinct documents into *folder* (made if missing), Markdown and DOCX in turn; give their paths.

    Document *n* depends on *seed* and *n* alone: more documents never change the first ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number in range(1, count + 1):
        draft = _draft(random.Random(f"{seed}/{number}"))
        stem = f"{number:05}-{re.sub('[^a-z]+', '-', draft.title.lower()).strip('-')}"
        if number % 2:
            path = folder / f"{stem}.md"
            path.write_text(_markdown(draft), encoding="utf-8")
        else:
            path = folder / f"{stem}.docx"
            _write_docx(path, draft)
        paths.append(path)
    return paths


def write_short_documents(folder: Path, count: int, seed: int = DEFAULT_SEED) -> list[Path]:
    """Write *count* distinct Markdown documents of about 2 kB into *folder* (made if missing); give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number in range(1, count + 1):
        chance = random.Random(f"{seed}/short/{number}")
        field = chance.choice(vocabulary.FIELDS)
        filler = _Filler(chance, field)
        blocks: list[Block] = [Paragraph(filler.sentences(3))]
        for title in chance.sample(vocabulary.SECTIONS, 2):
            blocks += [Heading(2, title), Paragraph(filler.sentences(10))]
        title = f"Field notes {number}: {field.name} at {chance.choice(vocabulary.PLACES)}"
        path = folder / f"{number:06}.md"
        path.write_text(_markdown(Draft(title, filler.person(), filler.day(), tuple(blocks))), encoding="utf-8")
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Draft:
    title: str
    author: str
    written: date
    blocks: tuple[Block, ...]


def _draft(chance: random.Random) -> Draft:
    field = chance.choice(vocabulary.FIELDS)
    filler = _Filler(chance, field)
    place = chance.choice(vocabulary.PLACES)
    kind = chance.choice(("Report", "Survey", "Annual review", "Field notes", "Minutes"))
    blocks: list[Block] = [Paragraph(filler.sentences(3))]
    words, target = 40, chance.randint(*_BODY_WORDS)
    for title in chance.sample(vocabulary.SECTIONS, len(vocabulary.SECTIONS)):
        section = [Heading(2, title), *_section(title, filler, chance)]
        blocks += section
        words += sum(_word_count(block) for block in section)
        if words >= target:
            break
    blocks += [Heading(2, "Tasks"), Items(tuple(filler.tasks(chance.randint(3, 6))), numbered=True)]
    return Draft(f"{kind}: {field.name} at {place}", filler.person(), filler.day(), tuple(blocks))


def _section(title: str, filler: _Filler, chance: random.Random) -> list[Block]:
    blocks: list[Block] = [Paragraph(filler.sentences(chance.randint(3, 5))) for _ in range(chance.randint(1, 2))]
    if title == "Measurements":
        blocks += [Heading(3, "Readings"), filler.table(chance.randint(4, 8))]
    elif title in {"Safety", "Outlook"}:
        blocks.append(Items(tuple(filler.tasks(chance.randint(2, 4))), numbered=False))
    blocks.append(Paragraph(filler.sentences(chance.randint(2, 4))))
    return blocks


def _word_count(block: Block) -> int:
    match block:
        case Heading(_, text) | Paragraph(text):
            return len(text.split())
        case Items(texts):
            return sum(len(text.split()) for text in texts)
        case Table(header, rows):
            return sum(len(cell.split()) for row in (header, *rows) for cell in row)
        case _:
            return 0


class _Filler:
    """Fills the places of sentences. One asset, measure and problem belong together for the length of a sentence."""

    def __init__(self, chance: random.Random, field: Field) -> None:
        self._chance = chance
        self._field = field
        self._deck: list[str] = []

    def sentences(self, count: int) -> str:
        return " ".join(self._fill(self._next_pattern()) for _ in range(count))

    def tasks(self, count: int) -> list[str]:
        return [f"{self._fill(pattern)}." for pattern in self._chance.sample(vocabulary.TASKS, count)]

    def _next_pattern(self) -> str:
        """A pattern that comes again only when all the others have been used."""
        if not self._deck:
            self._deck = self._chance.sample(vocabulary.SENTENCES, len(vocabulary.SENTENCES))
        return self._deck.pop()

    def table(self, rows: int) -> Table:
        names = [f"{name} ({unit})" for name, unit, _, _ in self._field.measures]
        days = sorted(self.day() for _ in range(rows))
        return Table(
            ("date", *names),
            tuple(
                (day.isoformat(), *(self._value(low, high) for _, _, low, high in self._field.measures)) for day in days
            ),
        )

    def person(self) -> str:
        return self._chance.choice(_PERSONS)

    def day(self) -> date:
        return _FIRST_DAY + timedelta(days=self._chance.randrange(_DAYS))

    def _organisation(self) -> str:
        return self._chance.choice(vocabulary.ORGANISATIONS).format(
            place=self._chance.choice(vocabulary.PLACES),
            family=self._chance.choice(vocabulary.FAMILY_NAMES),
            noun=self._chance.choice(vocabulary.ORGANISATION_NOUNS),
        )

    def _value(self, low: float, high: float) -> str:
        value = self._chance.uniform(low, high)
        return f"{value:,.0f}" if high >= 1000 else f"{value:.1f}"

    def _fill(self, pattern: str) -> str:
        chance, field = self._chance, self._field
        measure, unit, low, high = chance.choice(field.measures)
        asset, day = chance.choice(field.assets), self.day()
        problem, (person, colleague) = chance.choice(field.problems), chance.sample(_PERSONS, 2)
        filled = pattern.format(
            asset=asset,
            Asset=asset[0].upper() + asset[1:],
            measure=measure,
            unit=unit,
            value=self._value(low, high),
            other=self._value(low, high),
            problem=problem,
            problem_first=problem[0].upper() + problem[1:],
            action=chance.choice(field.actions),
            person=person,
            colleague=colleague,
            place=chance.choice(vocabulary.PLACES),
            organisation=self._organisation(),
            other_organisation=self._organisation(),
            date=_written(day),
            later=_written(day + timedelta(days=chance.randint(5, 400))),
            year=chance.randint(1961, 2015),
            percent=chance.randint(2, 64),
            count=chance.randint(3, 48),
            money=f"{chance.randint(12, 990) * 1000:,}",
            time=f"{chance.randint(4, 22):02}:{chance.randint(0, 59):02}",
        )
        return filled[0].upper() + filled[1:]


def _written(day: date) -> str:
    return f"{day.day} {vocabulary.MONTHS[day.month - 1]} {day.year}"


def _markdown(draft: Draft) -> str:
    parts = [f"# {draft.title}", f"{draft.author}, {_written(draft.written)}"]
    for block in draft.blocks:
        match block:
            case Heading(level, text):
                parts.append(f"{'#' * level} {text}")
            case Paragraph(text):
                parts.append(text)
            case Items(texts, numbered):
                marks = [f"{number}." if numbered else "-" for number in range(1, len(texts) + 1)]
                parts.append("\n".join(f"{mark} {text}" for mark, text in zip(marks, texts, strict=True)))
            case Table(header, rows):
                lines = [header, ("---",) * len(header), *rows]
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            case _:
                raise ValueError(f"the generated documents hold no {type(block).__name__}")
    return "\n\n".join(parts) + "\n"


# DOCX: the parts that ECMA-376 requires, and styles, because headings and lists are known by them. --------------------

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_MEMBER_TIME = (1980, 1, 1, 0, 0, 0)

_CONTENT_TYPES = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{_WORD_TYPE}.document.main+xml"/>'
    f'<Override PartName="/word/styles.xml" ContentType="{_WORD_TYPE}.styles+xml"/>'
    f'<Override PartName="/word/numbering.xml" ContentType="{_WORD_TYPE}.numbering+xml"/></Types>'
)
_PACKAGE_RELATIONS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>'
)
_DOCUMENT_RELATIONS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/numbering" Target="numbering.xml"/></Relationships>'
)
_STYLES = (
    f"{_XML}<w:styles {_W}>"
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>'
    + "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/>'
        f'<w:basedOn w:val="Normal"/><w:pPr><w:outlineLvl w:val="{level - 1}"/></w:pPr></w:style>'
        for level in (1, 2, 3)
    )
    + "</w:styles>"
)
_NUMBERING = (
    f"{_XML}<w:numbering {_W}>"
    + "".join(
        f'<w:abstractNum w:abstractNumId="{number}"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="{kind}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl></w:abstractNum>'
        for number, (kind, text) in enumerate((("bullet", "\u2022"), ("decimal", "%1.")))
    )
    + '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    "</w:numbering>"
)


def _write_docx(path: Path, draft: Draft) -> None:
    body = [
        _docx_paragraph(draft.title, '<w:pStyle w:val="Heading1"/>'),
        _docx_paragraph(f"{draft.author}, {_written(draft.written)}"),
        *(_docx_block(block) for block in draft.blocks),
    ]
    document = f"{_XML}<w:document {_W}><w:body>{''.join(body)}</w:body></w:document>"
    members = {
        "[Content_Types].xml": _CONTENT_TYPES,
        "_rels/.rels": _PACKAGE_RELATIONS,
        "word/document.xml": document,
        "word/_rels/document.xml.rels": _DOCUMENT_RELATIONS,
        "word/styles.xml": _STYLES,
        "word/numbering.xml": _NUMBERING,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _MEMBER_TIME), text, compress_type=zipfile.ZIP_DEFLATED)


def _docx_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return _docx_paragraph(text, f'<w:pStyle w:val="Heading{level}"/>')
        case Paragraph(text):
            return _docx_paragraph(text)
        case Items(texts, numbered):
            mark = f'<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{2 if numbered else 1}"/></w:numPr>'
            return "".join(_docx_paragraph(text, mark) for text in texts)
        case Table(header, rows):
            return f"<w:tbl>{''.join(_docx_row(row) for row in (header, *rows))}</w:tbl><w:p/>"
        case _:
            raise ValueError(f"the generated documents hold no {type(block).__name__}")


def _docx_paragraph(text: str, properties: str = "") -> str:
    style = f"<w:pPr>{properties}</w:pPr>" if properties else ""
    return f'<w:p>{style}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def _docx_row(cells: tuple[str, ...]) -> str:
    return f"<w:tr>{''.join(f'<w:tc>{_docx_paragraph(cell)}</w:tc>' for cell in cells)}</w:tr>"
