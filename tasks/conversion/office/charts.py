"""Charts of Office documents as tables: series are columns, categories are rows.

Owns how DrawingML charts (ECMA-376 part 1, 21.2) and the charts of Office 2016 (MS-ODRAWXML 2.24.3, `cx`) are read:
from the values that the document holds, not from the workbook behind it. A chart without them has no table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from tasks.conversion.markdown_writer import escape, table
from tasks.conversion.number_formats.number_format import number_format
from tasks.conversion.office.package import Element, local_name

Show = Callable[[str, str], str]
"""Returns what a value looks like, from the value and its number format."""

# A chart with more points is a picture of a measurement; its first points stand for it.
MAX_POINTS = 5_000
_XY_CHARTS = frozenset({"scatterChart", "bubbleChart"})


@dataclass(frozen=True)
class Chart:
    """A chart in Markdown: its title in bold and its tables. `complete` says that its values were there."""

    markdown: str
    complete: bool


@dataclass
class _Series:
    name: str
    values: dict[int, str]
    categories: dict[int, str] = field(default_factory=dict[int, str])
    size: dict[int, str] = field(default_factory=dict[int, str])
    by_x: bool = False


def read_chart(root: Element, show: Show | None = None) -> Chart:
    """Return the chart of a chart part's *root* element; *show* formats its values, as Excel does without it."""
    shown = show or partial(_as_shown, from_1904=_is_on(root.find("{*}date1904")))
    series = [*_drawing_series(root, shown), *_office_2016_series(root, shown)]
    title = _title(root)
    tables = [text for group in _groups(series) if (text := _table(group, _axis_title(root)))]
    blocks = [f"**{escape(title)}**"] if title else []
    return Chart(markdown="\n\n".join([*blocks, *tables]), complete=bool(tables))


def _drawing_series(root: Element, show: Show) -> Iterator[_Series]:
    for area in root.iter("{*}plotArea"):
        for plot in area:
            for number, ser in enumerate(plot.findall("{*}ser"), start=1):
                by_x = local_name(plot) in _XY_CHARTS
                yield _Series(
                    name=" ".join(_points(ser.find("{*}tx"), show).values()) or f"Series {number}",
                    values=_points(ser.find("{*}yVal" if by_x else "{*}val"), show),
                    categories=_points(ser.find("{*}xVal" if by_x else "{*}cat"), show),
                    size=_points(ser.find("{*}bubbleSize"), show),
                    by_x=by_x,
                )


def _points(source: Element | None, show: Show) -> dict[int, str]:
    """Return the cached points of a reference, or the literal ones, by index; levels of categories are joined."""
    if source is None:
        return {}
    levels = list(source.iter("{*}lvl")) or [source]
    points: dict[int, str] = {}
    for level in levels:
        own = _points_of(level, show)
        if level is levels[0]:
            points = own
        else:  # outer levels come later and stand at the first of the points that they are for
            points = {index: f"{_outer(own, index)} {text}".strip() for index, text in points.items()}
    literal = source.findtext("{*}v")
    return points or ({0: literal.strip()} if literal and literal.strip() else {})


def _points_of(level: Element, show: Show) -> dict[int, str]:
    format_code = next((one.text or "" for one in level.iter("{*}formatCode")), "General")
    is_number = any(local_name(one) in ("numCache", "numLit") for one in level.iter())
    points: dict[int, str] = {}
    for point in level.iter("{*}pt"):
        text = " ".join((point.findtext("{*}v") or point.text or "").split())
        if text and len(points) < MAX_POINTS:
            points[_index(point)] = show(text, point.get("formatCode") or format_code) if is_number else text
    return points


def _outer(points: dict[int, str], index: int) -> str:
    at = max((start for start in points if start <= index), default=None)
    return points[at] if at is not None else ""


def _office_2016_series(root: Element, show: Show) -> Iterator[_Series]:
    data = {one.get("id"): one for one in root.iter("{*}data") if one.get("id") is not None}
    for number, ser in enumerate((one for one in root.iter("{*}series") if one.get("layoutId")), start=1):
        reference = ser.find("{*}dataId")
        source = data.get(reference.get("val")) if reference is not None else None
        if source is None:
            continue
        name = next((one.text for one in ser.iter("{*}v") if one.text), None)
        numbers = source.find("{*}numDim")
        level = next(numbers.iter("{*}lvl"), None) if numbers is not None else None
        code = level.get("formatCode", "General") if level is not None else "General"
        values = {index: show(text, code) for index, text in _points(numbers, _as_written).items()}
        categories = _points(source.find("{*}strDim"), _as_written)
        yield _Series(name=name or f"Series {number}", values=values, categories=categories)


def _groups(series: Sequence[_Series]) -> Iterator[list[_Series]]:
    """Yield series that share their categories together, each series of points by itself."""
    group: list[_Series] = []
    for one in series:
        if group and (one.by_x or group[-1].by_x or (one.categories and one.categories != group[0].categories)):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _table(group: Sequence[_Series], axis: str) -> str:
    first = group[0]
    if not any(one.values for one in group):
        return ""
    columns = [one.values for one in group]
    names = [one.name for one in group]
    if first.by_x:
        axis = axis or "x"
        if first.size:
            names, columns = [first.name, "size"], [first.values, first.size]
    indexes = sorted({index for column in (first.categories, *columns) for index in column})
    named = bool(first.categories)
    rows = [[axis, *names] if named else names]
    for index in indexes:
        cells = [column.get(index, "") for column in columns]
        rows.append([first.categories.get(index, ""), *cells] if named else cells)
    return table([[escape(text) for text in row] for row in rows])


def _title(root: Element) -> str:
    chart = next(root.iter("{*}chart"), None)
    title = chart.find("{*}title") if chart is not None else None
    if title is not None and (text := _rich_text(title)):
        return text
    # Without a title of its own, a chart of one series shows that series' name, if it shows any.
    return " ".join(_points(title, _as_written).values())


def _axis_title(root: Element) -> str:
    """Return the title of the axis of categories (of x values); empty if it has none."""
    for kind in ("{*}catAx", "{*}dateAx", "{*}valAx"):
        axes = list(root.iter(kind))
        if axes:
            title = axes[0].find("{*}title")
            return _rich_text(title) if title is not None else ""
    return ""


def _rich_text(title: Element) -> str:
    paragraphs = ("".join(one.text or "" for one in paragraph.iter("{*}t")) for paragraph in title.iter("{*}p"))
    return " ".join(" ".join(paragraphs).split())


def _as_shown(value: str, format_code: str, *, from_1904: bool) -> str:
    return number_format(format_code).show(value, from_1904=from_1904)


def _is_on(flag: Element | None) -> bool:
    return flag is not None and flag.get("val", "1") in ("1", "true")


def _as_written(value: str, _format_code: str) -> str:
    return value


def _index(point: Element) -> int:
    try:
        return int(point.get("idx", "0"))
    except ValueError:
        return 0
