"""Charts that are stored with their values in outputs of notebooks (Plotly, Vega-Lite), as tables; pure.

Owns how series become columns. A chart without values in it, or with more points than a table is read for, has none.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from tasks.conversion.markdown_writer import escape, table
from tasks.conversion.office.charts import MAX_POINTS
from tasks.conversion.reading import single_line

_TYPES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
_MAX_COLUMNS = 50

Rows = list[list[str]]


def chart_of(forms: Mapping[str, Any]) -> str:
    """Return the Markdown of the chart among an output's *forms*, which are by media type; empty without values."""
    for kind, form in forms.items():
        if not isinstance(form, dict):
            continue
        chart = cast("Mapping[str, Any]", form)
        if kind.startswith("application/vnd.plotly"):
            return _titled(_title(_mapping(chart.get("layout")).get("title")), _plotly(chart))
        if kind.startswith(("application/vnd.vegalite", "application/vnd.vega")):
            return _titled(_title(chart.get("title")), _vega(chart))
    return ""


def _titled(title: str, tables: Sequence[Rows]) -> str:
    blocks = [table([[escape(cell) for cell in row] for row in rows]) for rows in tables if rows]
    if not blocks:
        return ""
    return "\n\n".join([*([f"**{escape(title)}**"] if title else []), *blocks])


def _plotly(chart: Mapping[str, Any]) -> list[Rows]:
    """Return the tables of a figure: one for all series over the same values, else one for each."""
    layout = _mapping(chart.get("layout"))
    axis = _title(_mapping(layout.get("xaxis")).get("title"))
    series = [
        found for number, trace in enumerate(_mappings(chart.get("data")), 1) if (found := _series(trace, number))
    ]
    if sum(len(values) for _, _, values in series) > MAX_POINTS or not series or len(series) > _MAX_COLUMNS:
        return []
    first = series[0][1]
    if all(categories == first for _, categories, _ in series):
        columns = [values for _, _, values in series]
        return [[[axis, *(name for name, _, _ in series)], *map(list, zip(first, *columns, strict=True))]]
    return [[[axis, name], *map(list, zip(categories, values, strict=True))] for name, categories, values in series]


def _series(trace: Mapping[str, Any], number: int) -> tuple[str, list[str], list[str]] | None:
    """Return a series' name, its categories and its values, both of the same length."""
    categories = _values(trace.get("labels", trace.get("x")))
    values = _values(trace.get("values", trace.get("y")))
    if trace.get("orientation") == "h":
        categories, values = values, categories
    if not values:
        return None
    if not categories:
        categories = [str(index) for index in range(len(values))]
    count = min(len(categories), len(values))
    return _title(trace.get("name")) or f"Series {number}", categories[:count], values[:count]


def _vega(chart: Mapping[str, Any]) -> list[Rows]:
    """Return the table of the data that a chart draws: its fields are the columns."""
    data = _mapping(chart.get("data"))
    named = _mapping(chart.get("datasets")).get(str(data.get("name")))
    rows = _mappings(data.get("values", named))
    columns = list(dict.fromkeys(name for row in rows[:MAX_POINTS] for name in row))
    if not rows or len(rows) > MAX_POINTS or len(columns) > _MAX_COLUMNS:
        return []
    return [[columns, *([_text(row.get(name)) for name in columns] for row in rows)]]


def _values(given: object) -> list[str]:
    """Return the values of an axis, which are a list or bytes with a type."""
    if isinstance(given, list):
        return [_text(value) for value in cast("list[object]", given)]
    return [_text(value) for value in _unpacked(_mapping(given))]


def _unpacked(given: Mapping[str, Any]) -> Iterator[object]:
    kind, data = _TYPES.get(str(given.get("dtype"))), given.get("bdata")
    if kind is None or not isinstance(data, str):
        return
    try:
        yield from (value for (value,) in struct.iter_unpack(f"<{kind}", base64.b64decode(data)))
    except (ValueError, struct.error):
        return


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    return single_line(str(value))


def _title(given: object) -> str:
    text = given if isinstance(given, str) else _mapping(given).get("text")
    return single_line(text) if isinstance(text, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []
