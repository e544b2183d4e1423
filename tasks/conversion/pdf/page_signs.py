"""Where the signs of a PDF's pages stand, asked from pdfium.

Owns the calls to pdfium that look at text: the lines of a page, the signs at their ends, and what is raised or lowered.
Pages without a raised or lowered run, which most are, are not looked at sign by sign.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ctypes import c_double, c_float, c_ushort
from dataclasses import dataclass, field
from typing import Any

import pypdfium2.raw as _raw  # pyright: ignore[reportMissingTypeStubs]

from tasks.conversion.line_ends import LineEnd

raw: Any = _raw

# pdfium marks a hyphen at a line's end by U+FFFE and drops the line's end.
_LINE_END = re.compile(r"(\S{0,80}?)(?:([-\u00ad\u2010\u2011–−/._=&?%])\r\n|(\ufffe))(?=([^\s\ufffe]{1,80}))")
# Signs of context before and after a place.
_CONTEXT = 60
# Ratios to the size of the text before it: what is smaller is raised or lowered if it also stands higher or lower.
_LARGEST_SIZE, _SMALLEST_SIZE = 0.88, 0.3
_LEAST_SHIFT, _MOST_SHIFT = 0.05, 0.8
_MOST_GAP = 0.4
_BLANK_GAP = 0.12
_MOST_SIGNS = 12
_RAISED = re.compile(r"[+\-−–]?\w{1,6}(?:[,;–-]\w{1,4}){0,4}[+\-−–]?|[+\-−]")
_BROKEN = (0x0D, 0x0A)
# Sine to cosine: italics are not turned, watermarks are.
_LEAST_SLANT = 0.1
_MOST_TURNED = 100
_STEP = 4.0
# A page number or a stamp on a scan, and no more.
_MOST_SCAN_TEXT = 60
_SCAN_SHARE = 0.7
# Without any text, a smaller picture or many shapes may be it.
_PICTURE_SHARE = 0.1
_LETTERS_AS_SHAPES = 30
_MOST_OBJECTS = 1000
# A logo is smaller.
_LEAST_PICTURE = 0.05
_LETTERHEAD_PAGES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a page by the text before and after it."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Shifted:
    """A raised or lowered run. `index` is that of its first sign, `baseline` and `scale` put it on its line."""

    text: str
    place: Place
    raised: bool
    blank_after: bool
    index: int
    height: float
    baseline: float
    scale: float


@dataclass(frozen=True, slots=True)
class Foot:
    """A note at a page's foot: its mark, its text, and the height of its signs on the page (points)."""

    mark: str
    text: str


@dataclass(slots=True)
class PageSigns:
    """What one page says about its text, in the order of the file.

    `is_scan` says that a picture is the page. `turned` are texts that are not horizontal, `images` the edges of
    pictures (points), `area` that of the page.
    """

    text: str
    is_scan: bool = False
    ends: list[tuple[LineEnd, Place]] = field(default_factory=list[tuple[LineEnd, Place]])
    shifted: list[Shifted] = field(default_factory=list[Shifted])
    feet: list[Foot] = field(default_factory=list[Foot])
    turned: list[str] = field(default_factory=list[str])
    images: list[tuple[int, int, int, int]] = field(default_factory=list[tuple[int, int, int, int]])
    area: float = 0.0


@dataclass(slots=True)
class Run:
    """Signs of one size on one line, in order."""

    first: int
    last: int
    left: float
    right: float
    bottom: float
    height: float


def page_signs(page: Any, text_page: Any) -> PageSigns:
    """Return the signs of a page."""
    text: str = text_page.get_text_range()
    width, height = page.get_size()
    signs = PageSigns(text, _is_scan(page, text), area=width * height)
    for match in _LINE_END.finditer(text):
        sign = match[2] or "-"
        place = Place(_context_before(text, match.end(1)), text[match.end() : match.end() + _CONTEXT])
        signs.ends.append((LineEnd(match[1], match[4], sign), place))
    if _look_at_objects(page, text_page, signs):
        _add_shifted(signs, text_page)
    return signs


def place_after(text_page: Any, x: float, y: float, width: float, height: float) -> Place | None:
    """Return the place after the sign next to a point of the page, at its left; None without one so near (points)."""
    index = _nearest(text_page, x, y, width, height, -1)
    return None if index is None else _split(text_page, index + 1)


def place_before(text_page: Any, x: float, y: float, width: float, height: float) -> Place | None:
    """Return the place before the sign next to a point of the page, at its right; None without one so near."""
    index = _nearest(text_page, x, y, width, height, 1)
    return None if index is None else _split(text_page, index)


def _nearest(text_page: Any, x: float, y: float, width: float, height: float, direction: int) -> int | None:
    """Return the index of the sign nearest to a point in one direction, looked for in steps of its tolerance."""
    distance = 0.0
    while distance <= width:
        index = raw.FPDFText_GetCharIndexAtPos(text_page.raw, x + direction * distance, y, _STEP, height)
        if index >= 0:
            return index
        distance += _STEP
    return None


def _split(text_page: Any, index: int) -> Place:
    return Place(
        decoded(text_page.raw, max(0, index - _CONTEXT), index), decoded(text_page.raw, index, index + _CONTEXT)
    )


def _is_scan(page: Any, text: str) -> bool:
    """Return whether a page has no text, or little on a picture that covers it. Letters may be drawn as shapes, too."""
    signs = sum(map(str.isalnum, text)) if len(text) < _MOST_SCAN_TEXT else _MOST_SCAN_TEXT
    if signs >= _MOST_SCAN_TEXT:
        return False
    count = raw.FPDFPage_CountObjects(page.raw)
    if not signs and count >= _LETTERS_AS_SHAPES:
        return True
    width, height = page.get_size()
    least = _SCAN_SHARE if signs else _PICTURE_SHARE
    return any(_share(page, number, width * height) >= least for number in range(min(count, _MOST_OBJECTS)))


def _share(page: Any, number: int, area: float) -> float:
    """Return which share of the page an object covers, if it is an image."""
    piece = raw.FPDFPage_GetObject(page.raw, number)
    if raw.FPDFPageObj_GetType(piece) != raw.FPDF_PAGEOBJ_IMAGE or not area:
        return 0.0
    return _covered(_bounds(piece)) / area


def _bounds(piece: Any) -> tuple[int, int, int, int]:
    left, bottom, right, top = c_float(), c_float(), c_float(), c_float()
    raw.FPDFPageObj_GetBounds(piece, left, bottom, right, top)
    return round(left.value), round(bottom.value), round(right.value), round(top.value)


def _covered(bounds: tuple[int, int, int, int]) -> int:
    left, bottom, right, top = bounds
    return (right - left) * (top - bottom)


def pictures_without_text(pages: Sequence[PageSigns]) -> int:
    """Return how many pictures on pages with text are large enough to say something.

    What covers a page is its ground, and what is on several pages at one place is a letterhead.
    """
    places = Counter(bounds for page in pages for bounds in set(page.images))
    return sum(
        _LEAST_PICTURE * page.area <= _covered(bounds) <= _SCAN_SHARE * page.area and places[bounds] < _LETTERHEAD_PAGES
        for page in pages
        if not page.is_scan
        for bounds in page.images
    )


def _context_before(text: str, end: int) -> str:
    return text[max(0, end - _CONTEXT) : end]


def _look_at_objects(page: Any, text_page: Any, signs: PageSigns) -> bool:
    """Add the texts that run up, down or aslant; return whether there may be a raised or lowered run.

    That is so where a smaller piece of text stands a little above or below the piece before it.
    """
    size, matrix = c_float(), raw.FS_MATRIX()
    before: tuple[float, float] | None = None
    is_shifted = False
    for number in range(raw.FPDFPage_CountObjects(page.raw)):
        piece = raw.FPDFPage_GetObject(page.raw, number)
        kind = raw.FPDFPageObj_GetType(piece)
        is_shifted |= kind == raw.FPDF_PAGEOBJ_FORM
        if kind == raw.FPDF_PAGEOBJ_IMAGE and len(signs.images) < _MOST_TURNED:
            signs.images.append(_bounds(piece))
        if kind != raw.FPDF_PAGEOBJ_TEXT:
            continue
        raw.FPDFPageObj_GetMatrix(piece, matrix)
        if abs(matrix.b) > _LEAST_SLANT * abs(matrix.a) and len(signs.turned) < _MOST_TURNED:
            signs.turned.append(_text_of(piece, text_page))
        if is_shifted:
            continue
        raw.FPDFTextObj_GetFontSize(piece, size)
        height, level = size.value * abs(matrix.d), matrix.f
        if before is not None:
            larger, smaller = (before, (height, level)) if height < before[0] else ((height, level), before)
            is_shifted = smaller[0] < _LARGEST_SIZE * larger[0] and 0 < abs(smaller[1] - larger[1]) < larger[0]
        before = height, level
    return is_shifted


def _text_of(piece: Any, text_page: Any) -> str:
    size = raw.FPDFTextObj_GetText(piece, text_page.raw, None, 0)
    buffer = (c_ushort * max(1, size // 2))()
    raw.FPDFTextObj_GetText(piece, text_page.raw, buffer, size)
    return bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")


def _add_shifted(signs: PageSigns, text_page: Any) -> None:
    lines = runs(text_page)
    handle = text_page.raw
    notes: list[int] = []
    for number, run in enumerate(lines):
        before = lines[number - 1] if number else None
        after = lines[number + 1] if number + 1 < len(lines) else None
        text = _text(handle, run)
        if not text or len(text) > _MOST_SIGNS or not _RAISED.fullmatch(text):
            continue
        if before is not None and (shifted := _shifted(handle, signs, before, run, after, text)):
            signs.shifted.append(shifted)
        elif after is not None and _leads(handle, run, after):
            notes.append(number)
    signs.feet += _feet(handle, lines, notes)


def _shifted(handle: Any, signs: PageSigns, before: Run, run: Run, after: Run | None, text: str) -> Shifted | None:
    if not _SMALLEST_SIZE * before.height < run.height < _LARGEST_SIZE * before.height:
        return None
    if not -0.3 * before.height < run.left - before.right < _MOST_GAP * before.height:
        return None
    level, own = baseline(handle, before.last), baseline(handle, run.first)
    shift = (own - level) / before.height
    if not _LEAST_SHIFT < abs(shift) < _MOST_SHIFT:
        return None
    follows = after is not None and abs(after.bottom - before.bottom) < before.height
    blank = after is None or not follows or after.left - run.right > _BLANK_GAP * before.height
    blank = blank or _character(handle, run.last).isspace() or _character(handle, after.first if after else 0).isspace()
    return Shifted(
        text=text,
        place=Place(
            decoded(handle, max(0, run.first - _CONTEXT), run.first),
            decoded(handle, run.last + 1, run.last + 1 + _CONTEXT),
        ),
        raised=shift > 0,
        blank_after=blank,
        index=run.first,
        height=before.height,
        baseline=level,
        scale=before.height / run.height,
    )


def _leads(handle: Any, run: Run, after: Run) -> bool:
    """Return whether a raised run begins a line: the mark of a note at the page's foot."""
    if not run.height < _LARGEST_SIZE * after.height or not -0.1 < (after.left - run.right) / after.height < 1:
        return False
    shift = (baseline(handle, run.first) - baseline(handle, after.first)) / after.height
    return _LEAST_SHIFT < shift < _MOST_SHIFT


def _feet(handle: Any, lines: list[Run], notes: list[int]) -> Iterator[Foot]:
    """Yield the notes that begin at the numbers *notes*: each up to the next one, or to text of another size."""
    for position, number in enumerate(notes):
        body = lines[number + 1]
        end = notes[position + 1] if position + 1 < len(notes) else len(lines)
        last = body
        for run in lines[number + 2 : end]:
            if run.height > 1.06 * body.height or run.bottom > last.bottom + body.height:
                break
            if last.bottom - run.bottom > 1.9 * body.height:
                break
            last = run
        text = decoded(handle, body.first, last.last + 1)
        yield Foot(_text(handle, lines[number]), text)


def runs(text_page: Any) -> list[Run]:
    """Return the signs of a page in runs of one size on one line, in the order of the file."""
    handle = text_page.raw
    box, code_at, box_at = raw.FS_RECTF(), raw.FPDFText_GetUnicode, raw.FPDFText_GetLooseCharBox
    found: list[Run] = []
    last: Run | None = None
    for index in range(raw.FPDFText_CountChars(handle)):
        if code_at(handle, index) in _BROKEN:
            continue
        box_at(handle, index, box)
        left, right, bottom = box.left, box.right, box.bottom
        height = box.top - bottom
        if height <= 0:
            continue
        if (
            last is not None
            and abs(height - last.height) < 0.06 * height
            and abs(bottom - last.bottom) < 0.06 * height
            and -height < left - last.right < 2 * height
        ):
            last.last, last.right = index, right
            continue
        if code_at(handle, index) == 0x20:
            continue
        last = Run(index, index, left, right, bottom, height)
        found.append(last)
    return found


def baseline(handle: Any, index: int) -> float:
    """Return how high on the page the sign at *index* stands (points)."""
    x, y = c_double(), c_double()
    raw.FPDFText_GetCharOrigin(handle, index, x, y)
    return y.value


def _character(handle: Any, index: int) -> str:
    return chr(raw.FPDFText_GetUnicode(handle, index))


def _text(handle: Any, run: Run) -> str:
    if run.last - run.first > 2 * _MOST_SIGNS:
        return ""
    return decoded(handle, run.first, run.last + 1).strip()


def decoded(handle: Any, start: int, end: int) -> str:
    """Return the signs from one index to before another, with the line ends that pdfium puts in."""
    end = min(end, raw.FPDFText_CountChars(handle))
    return "".join(map(chr, (raw.FPDFText_GetUnicode(handle, index) for index in range(start, end))))
