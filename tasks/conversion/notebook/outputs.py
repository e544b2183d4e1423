"""What the code cells of a notebook printed and displayed, as Markdown.

Owns the choice among the forms in which one output is stored: Markdown, a chart's values, HTML, a formula, else text. A
picture is counted as lost unless the same output is there in words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

from blocks.errors import WaybillError
from tasks.conversion.notebook.charts import chart_of
from tasks.conversion.notebook.markdown_piece import closed
from tasks.conversion.plain.reader import as_code_block
from tasks.conversion.reading import clean_text, single_line
from tasks.losses import counted

# A page of a log has 5 kB. More than this of one output is a loop that printed, and would hide the document.
_MAX_OUTPUT_CHARACTERS = 1 << 20
# Tables of this size are stored as files, not in notebooks.
_MAX_HTML_CHARACTERS = 8 << 20

_WORD = re.compile(r"[^\W_]")
# How the forms of nbformat 2 and 3 are called since.
_OLD_NAMES = {
    "text": "text/plain",
    "html": "text/html",
    "latex": "text/latex",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "json": "application/json",
}
# What Python shows of an object that is displayed in another form.
_OBJECT = re.compile(
    r"<(?:Figure size|IPython\.|matplotlib\.|PIL\.|seaborn\.|folium\.|plotly\.|bokeh\.|[\w.]+ (?:object )?at 0x)"
    r"[^\n]*>|plot without title|alt\.(?:\w*Chart)\(\.\.\.\)",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"^<Figure size [^\n>]*>\n?", re.MULTILINE)
_PICTURE = re.compile(r"<(?:img|canvas|video|iframe)\b", re.IGNORECASE)
_IMAGE = re.compile(r"!\[\]\([^)\n]{0,2000}\)")
_TABLE = re.compile(r"<table\b", re.IGNORECASE)
_CHART_KINDS = re.compile(r"application/vnd\.(?:plotly|vega|vegalite|bokehjs|holoviews|dash)")
_DISPLAY_STYLE = re.compile(r"\A\\displaystyle\s*")


def text_of(value: object) -> str:
    """Return a text of a notebook, which is stored as one string or as a list of lines."""
    if isinstance(value, list):
        return "".join(part for part in cast("list[object]", value) if isinstance(part, str))
    return value if isinstance(value, str) else ""


class Outputs:
    """Converts outputs; counts in *lost* what cannot be carried over."""

    def __init__(self, lost: Counter[str]) -> None:
        self._lost = lost
        self._cut = 0
        self._others: list[str] = []

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings that count nothing: of HTML, and that outputs were cut."""
        cut = (f"outputs longer than {_MAX_OUTPUT_CHARACTERS} characters were cut",) if self._cut else ()
        return (*dict.fromkeys(self._others), *cut)

    def blocks(self, outputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield the Markdown of a cell's outputs. Texts that were printed one after the other are one block."""
        for (kind, _), group in groupby(outputs, key=lambda one: (one.get("output_type"), one.get("name"))):
            if kind == "stream":
                yield self._printed("".join(text_of(output.get("text")) for output in group))
            else:
                yield from map(self._block, group)

    def _block(self, output: Mapping[str, Any]) -> str:
        """Return the Markdown of one output; empty when it shows nothing in words."""
        kind = output.get("output_type")
        if kind in ("error", "pyerr"):
            return self._printed(_traceback(output))
        if kind in ("execute_result", "display_data", "pyout", "update_display_data"):
            return self._displayed(output)
        self._lost["part"] += 1
        return ""

    def html(self, text: str) -> str:
        """Return the Markdown of HTML; empty when it has no words."""
        from tasks.conversion.html.web_page import html_to_markdown

        if len(text) > _MAX_HTML_CHARACTERS:
            return ""
        try:
            reading = html_to_markdown(text, ())
        except WaybillError:
            return ""
        if not _WORD.search(_IMAGE.sub("", reading.body)):
            return ""
        lost, others = counted(reading.warnings)
        self._lost.update(lost)
        self._others += others
        return reading.body.strip("\n")

    def _printed(self, text: str) -> str:
        """Return printed text in a code block, as a terminal leaves it: a line that was overwritten is gone."""
        if "\r" in text:
            text = "\n".join(_last_state(line) for line in text.replace("\r\n", "\n").split("\n"))
        text = clean_text(text).strip("\n")
        if len(text) > _MAX_OUTPUT_CHARACTERS:
            self._cut += 1
            text = text[:_MAX_OUTPUT_CHARACTERS]
        return as_code_block(text, "text") if text.strip() else ""

    def _displayed(self, output: Mapping[str, Any]) -> str:
        forms = _forms(output)
        picture = next((kind for kind in forms if kind.startswith("image/")), "")
        block = self._in_words(forms)
        plain = _FIGURE.sub("", clean_text(text_of(forms.get("text/plain")))).strip("\n")
        if not block and plain.strip() and not (len(forms) > 1 and _OBJECT.fullmatch(plain.strip())):
            block = self._printed(plain)
            self._count_pictures(forms, picture)
        elif not block:
            self._count_pictures(forms, picture)
        described = _description(output, picture)
        return "\n\n".join(part.strip("\n") for part in (described, block) if part.strip())

    def _in_words(self, forms: Mapping[str, Any]) -> str:
        """Return the richest form that has words: Markdown, HTML, a formula, data; empty when there is none."""
        markdown = clean_text(text_of(forms.get("text/markdown")))
        if _WORD.search(markdown):
            return closed(markdown)
        if any(_CHART_KINDS.match(kind) for kind in forms) and (chart := chart_of(forms)):
            return chart
        page, latex = text_of(forms.get("text/html")), text_of(forms.get("text/latex"))
        if page and (_TABLE.search(page) or not latex):
            converted = self.html(page)
            if converted:
                return converted
        if latex.strip():
            return _formula(clean_text(latex))
        data = forms.get("application/json")
        if data is not None:
            return self._json(data)
        others = (kind for kind in forms if kind.startswith("text/") and kind not in ("text/plain", "text/html"))
        return next((self._printed(text_of(forms[kind])) for kind in others), "")

    def _json(self, data: object) -> str:
        text = clean_text(json.dumps(data, ensure_ascii=False, indent=1))
        if len(text) > _MAX_OUTPUT_CHARACTERS:
            self._cut += 1
            text = text[:_MAX_OUTPUT_CHARACTERS]
        return as_code_block(text, "json")

    def _count_pictures(self, forms: Mapping[str, Any], picture: str) -> None:
        """Count what an output without words shows, once."""
        page = text_of(forms.get("text/html"))
        if any(_CHART_KINDS.match(kind) for kind in forms):
            self._lost["chart"] += 1
        elif picture or _PICTURE.search(page):
            self._lost["image"] += 1
        elif any(kind.startswith(("application/vnd.", "application/pdf", "audio/", "video/")) for kind in forms):
            self._lost["object"] += 1
        elif page and not _WORD.search(text_of(forms.get("text/plain"))):
            self._lost["chart" if "<script" in page.lower() else "part"] += 1


def _last_state(line: str) -> str:
    """Return what a terminal shows of a line that was written several times from its beginning."""
    return line.rstrip("\r").rpartition("\r")[2]


def _forms(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output's forms by media type."""
    data = output.get("data")
    if isinstance(data, dict):
        return cast("dict[str, Any]", data)
    return {new: output[old] for old, new in _OLD_NAMES.items() if old in output}


def _description(output: Mapping[str, Any], picture: str) -> str:
    """Return the description that an author gave a picture."""
    metadata = output.get("metadata")
    of_picture = cast("dict[str, Any]", metadata).get(picture) if isinstance(metadata, dict) else None
    described = cast("dict[str, Any]", of_picture).get("alt") if isinstance(of_picture, dict) else None
    return single_line(described) if isinstance(described, str) else ""


def _traceback(output: Mapping[str, Any]) -> str:
    given = output.get("traceback")
    lines = [line for line in cast("list[object]", given) if isinstance(line, str)] if isinstance(given, list) else []
    text = clean_text("\n".join(lines))
    name, value = (clean_text(text_of(output.get(part))) for part in ("ename", "evalue"))
    return text if value in text and name in text else f"{text}\n{name}: {value}".strip("\n")


def _formula(latex: str) -> str:
    """Return a LaTeX output as a formula of its own; text with formulas in it, and tables, stay as they are."""
    text = latex.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")):
        inner = text[len(opening) : -len(closing)]
        if len(text) > 2 * len(opening) and text.startswith(opening) and text.endswith(closing):
            if "$" in inner:
                break
            return f"$${_DISPLAY_STYLE.sub('', inner.strip())}$$"
    if "\\begin{tabular" in text:
        return as_code_block(text, "latex")
    return text if "$" in text else f"$${text}$$"
