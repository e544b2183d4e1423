"""Org documents as HTML, which is written as a page is.

Owns the syntax that Org exports (Org manual, "Markup for Rich Contents"): headlines without their states and tags,
lists with their numbers, tables, blocks, notes, links, formulas. Drawers, planning lines and comments are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path

from tasks.conversion.formulas.latex_symbols import SIGNS
from tasks.conversion.html.page import write_page
from tasks.conversion.plain.reader import load_text
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.losses import losses

CONVERTER = "waybill-org 1"

_MAX_DEPTH = 30
_HEADLINE = re.compile(
    r"(\*+) +(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED|CANCELED|HOLD) +)?(?:\[#\w\] +)?"
    r"(.*?)(?:[ \t]+:[\w@#%:]+:)?[ \t]*"
)
_COMMENT = re.compile(r"[ \t]*#(?: .*)?")
_KEYWORD = re.compile(r"[ \t]*#\+([\w-]+)(?:\[[^\]]*\])?:[ \t]*(.*)")
_BEGIN = re.compile(r"[ \t]*#\+begin_(\w+)(?:[ \t]+(.*?))?[ \t]*", re.IGNORECASE)
_DRAWER = re.compile(r"[ \t]*:(\w[\w-]*):[ \t]*")
_PLANNING = re.compile(r"[ \t]*(?:SCHEDULED|DEADLINE|CLOSED|CLOCK):.*")
_ITEM = re.compile(r"([ \t]*)([-+]|(?<=[ \t])\*|\d{1,9}[.)]|[A-Za-z][.)])(?:[ \t]+(.*)|)")
_START = re.compile(r"\[@(\d+)\][ \t]*")
_CHECK = re.compile(r"\[([ Xx-])\][ \t]+")
_TERM = re.compile(r"(.*?)[ \t]+::(?:[ \t]+(.*)|)")
_NOTE = re.compile(r"\[fn:([\w-]+)\][ \t]*(.*)")
_FIXED = re.compile(r"[ \t]*:(?: (.*)|)")
_TABLE = re.compile(r"[ \t]*\|")
_RULE = re.compile(r"[ \t]*-{5,}[ \t]*")
_DISPLAY = re.compile(r"[ \t]*(?:\\\[|\\begin\{(\w+\*?)\}|\$\$)")

_NOTE_MARK = re.compile(r"\[fn:([\w-]*)(?::((?:[^\[\]]|\[[^\[\]]{0,999}\]){0,9999}))?\]")
_LINK = re.compile(r"\[\[([^\[\]]{1,999})\](?:\[([^\[\]]{1,999})\])?\]")
_FORMULA = re.compile(
    r"\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]|\$\$(.{1,2000}?)\$\$"
    r"|(?<![\w$])\$([^\s$](?:[^$\n]{0,999}[^\s$.,;?])?)\$(?![\w$])",
    re.DOTALL,
)
_CODE = re.compile(r"(?<![\w=~])([=~])(\S(?:.{0,999}?\S)??)\1(?![\w=~])")
# Italics first: the tags of the others have its sign in them.
_MARKUP = tuple(
    (re.compile(rf"(?<![\w{sign}:/]){sign}(\S(?:.{{0,999}}?\S)??){sign}(?![\w{sign}])", re.DOTALL), tag)
    for sign, tag in (("/", "i"), (r"\*", "b"), ("_", "u"), (r"\+", "s"))
)
_SCRIPT = re.compile(r"(?<=[\w)])([\^_])(?:\{([^{}]{1,99})\}|(-?\d+|[A-Za-z]\b)(?![\w}]))")
_ENTITY = re.compile(r"\\([A-Za-z]+)(?:\{\}|(?![A-Za-z]))")
_ENTITIES = SIGNS | {
    "ndash": "–",
    "mdash": "—",
    "nbsp": "\u00a0",
    "deg": "°",
    "euro": "€",
    "hellip": "…",
    "amp": "&amp;",
    "lt": "&lt;",
    "gt": "&gt;",
}
_TARGET = re.compile(r"<<<?[^<>\n]{1,200}>>>?")
_KEPT = re.compile("\ue000(\\d+)\ue001")


def read_org(path: Path) -> Reading:
    """Return the document as Markdown."""
    text, warnings = load_text(path, None)
    document = _Document()
    body = document.blocks(re.sub("[\ue000\ue001]", "", text.expandtabs(8)).split("\n"), 0)
    heading = document.inline(document.keywords["title"]) if "title" in document.keywords else ""
    title = f"<h1>{heading}</h1>" if heading else ""
    page = f"<html><body>{title}{body}{document.notes()}</body></html>"
    written = write_page(page.encode("utf-8", "replace"), ())
    about = document.keywords
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=single_line(unescape(re.sub(r"<[^>]*>", "", heading))) or None,
        created=re.sub(r"[<>\[\]]", "", about.get("date", "")).split(" ")[0] or None,
        language=about.get("language", "")[:2].lower() or None,
        fields={"author": about["author"]} if about.get("author") else {},
        warnings=(*warnings, *written.warnings, *losses(document.lost)),
    )


class _Document:
    def __init__(self) -> None:
        self.keywords: dict[str, str] = {}
        self.lost: Counter[str] = Counter()
        self._notes: dict[str, str] = {}
        self._anonymous = 0
        self._kept: list[str] = []

    def notes(self) -> str:
        return "".join(f'<aside id="fn-{escape(name)}">{text}</aside>' for name, text in self._notes.items())

    def blocks(self, lines: list[str], depth: int) -> str:
        """Return *lines* as blocks of HTML."""
        if depth > _MAX_DEPTH:
            return f"<pre>{escape(chr(10).join(lines))}</pre>"
        parts: list[str] = []
        at = 0
        while at < len(lines):
            block, at = self._block(lines, at, depth)
            parts.append(block)
        return "".join(parts)

    def _block(self, lines: list[str], at: int, depth: int) -> tuple[str, int]:
        line = lines[at]
        if not line.strip() or _PLANNING.fullmatch(line) or _COMMENT.fullmatch(line):
            return "", at + 1
        if headline := _HEADLINE.fullmatch(line):
            level = min(6, len(headline[1]) + ("title" in self.keywords))
            return f"<h{level}>{self.inline(headline[2])}</h{level}>", at + 1
        if begin := _BEGIN.fullmatch(line):
            return self._delimited(lines, at, begin[1].lower(), begin[2] or "", depth)
        if keyword := _KEYWORD.fullmatch(line):
            return self._keyword(keyword[1].lower(), keyword[2].strip()), at + 1
        if _DRAWER.fullmatch(line):
            end = _index(lines, at + 1, lambda one: one.strip().upper() == ":END:")
            return "", end + 1
        if _RULE.fullmatch(line):
            return "<hr>", at + 1
        if note := _NOTE.fullmatch(line):
            end = _index(lines, at + 1, lambda one: bool(_NOTE.fullmatch(one) or _HEADLINE.fullmatch(one)))
            self._notes[note[1]] = self.blocks([note[2], *lines[at + 1 : end]], depth + 1)
            return "", end
        if _TABLE.match(line):
            end = _index(lines, at, lambda one: not _TABLE.match(one))
            return self._table(lines[at:end]), end
        if _FIXED.fullmatch(line):
            end = _index(lines, at, lambda one: not _FIXED.fullmatch(one))
            text = "\n".join((_FIXED.fullmatch(one) or [None, ""])[1] or "" for one in lines[at:end])
            return f"<pre>{escape(text)}</pre>", end
        if _ITEM.fullmatch(line):
            return self._list(lines, at, depth)
        if display := _DISPLAY.match(line):
            return self._display(lines, at, display[1])
        end = _index(lines, at + 1, lambda one: not one.strip() or self._begins_block(one))
        return f"<p>{self.inline(chr(10).join(one.strip() for one in lines[at:end]))}</p>", end

    def _begins_block(self, line: str) -> bool:
        patterns = (_COMMENT, _HEADLINE, _BEGIN, _KEYWORD, _DRAWER, _RULE, _NOTE, _FIXED, _ITEM)
        return bool(_TABLE.match(line) or _DISPLAY.match(line) or any(one.fullmatch(line) for one in patterns))

    def _keyword(self, name: str, value: str) -> str:
        if name == "include":
            self.lost["included-file"] += 1
        elif name == "caption":
            return f"<p><i>{self.inline(value)}</i></p>"
        elif name in ("title", "author", "date", "language"):
            self.keywords[name] = f"{self.keywords[name]} {value}" if name in self.keywords else value
        return ""

    def _delimited(self, lines: list[str], at: int, kind: str, argument: str, depth: int) -> tuple[str, int]:
        end = _index(lines, at + 1, lambda one: one.strip().lower() == f"#+end_{kind}")
        inside = lines[at + 1 : end]
        if kind in ("src", "example", "export"):
            if kind == "export" and argument.lower() not in ("html", "md", "markdown", "ascii"):
                return "", end + 1
            language = argument.split(" ")[0] if kind == "src" and argument else ""
            indent = min((len(one) - len(one.lstrip()) for one in inside if one.strip()), default=0)
            text = "\n".join(re.sub(r"\A,(?=[*#,])", "", one[indent:]) for one in inside)
            named = f' data-language="{escape(language)}"' if language else ""
            return f"<pre{named}>{escape(text)}</pre>", end + 1
        if kind == "comment":
            return "", end + 1
        if kind == "verse":
            return f"<p>{'<br>'.join(map(self.inline, inside))}</p>", end + 1
        tag = "blockquote" if kind == "quote" else "div"
        return f"<{tag}>{self.blocks(inside, depth + 1)}</{tag}>", end + 1

    def _display(self, lines: list[str], at: int, environment: str | None) -> tuple[str, int]:
        first = lines[at].strip()
        closing = f"\\end{{{environment}}}" if environment else "\\]" if first.startswith("\\[") else "$$"
        if not environment and closing in first[2:]:
            return f"<p>{self.inline(first)}</p>", at + 1
        end = _index(lines, at + (not environment), lambda one: closing in one)
        text = "\n".join(lines[at : end + 1]).strip()
        text = text if environment else text[2:].replace(closing, "")
        return f"<formula display='block'>{escape(text.strip())}</formula>", end + 1

    def _table(self, lines: list[str]) -> str:
        rows: list[list[str]] = []
        heads = 0
        for line in lines:
            if re.match(r"[ \t]*\|-", line):
                heads = heads or len(rows)
            else:
                cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
                if not all(re.fullmatch(r"(?:<[lcr]?\d*>|/|[<>]*)", cell) for cell in cells):
                    rows.append(cells)
        parts = ["<table role='table'>"]
        for index, row in enumerate(rows):
            tag = "th" if index < heads and heads < len(rows) else "td"
            cells = "".join(f"<{tag}>{self.inline(cell)}</{tag}>" for cell in row)
            parts.append(f"<thead><tr>{cells}</tr></thead>" if tag == "th" else f"<tr>{cells}</tr>")
        return "".join([*parts, "</table>"])

    def _list(self, lines: list[str], at: int, depth: int) -> tuple[str, int]:
        first = _ITEM.fullmatch(lines[at])
        if first is None:
            return "", at + 1
        indent = len(first[1])
        ordered = first[2][0].isalnum()
        items: list[str] = []
        terms = False
        defines = bool(not ordered and _TERM.fullmatch(first[3] or ""))
        while (
            at < len(lines)
            and (item := _ITEM.fullmatch(lines[at]))
            and len(item[1]) == indent
            and item[2][0].isalnum() == ordered
            and bool(not ordered and _TERM.fullmatch(item[3] or "")) == defines
        ):
            end = _index(lines, at + 1, lambda one: bool(one.strip()) and len(one) - len(one.lstrip()) <= indent)
            while end > at + 1 and not lines[end - 1].strip():
                end -= 1
            written, is_term = self._item(item[3] or "", lines[at + 1 : end], depth, ordered=ordered)
            terms = terms or is_term
            items.append(written)
            at = end
            blank = _index(lines, at, lambda one: bool(one.strip()))
            if blank - at == 1 and blank < len(lines) and _ITEM.fullmatch(lines[blank]):
                at = blank
        kind = "a" if first[2][0].isalpha() else "1"
        start = first[2][:-1] if first[2][0].isdigit() else "1"
        tag = "dl" if terms else "ol" if ordered else "ul"
        given = f" type='{kind}' start='{start}'" if ordered else ""
        return f"<{tag}{given}>{''.join(items)}</{tag}>", at

    def _item(self, text: str, further: list[str], depth: int, *, ordered: bool) -> tuple[str, bool]:
        value, mark = "", ""
        if start := _START.match(text):
            value, text = f" value='{start[1]}'", text[start.end() :]
        if check := _CHECK.match(text):
            mark = f"<input type='checkbox'{' checked' if check[1] in 'Xx' else ''}>"
            text = text[check.end() :]
        term = None if ordered else _TERM.fullmatch(text)
        own = [(term[2] or "") if term else text]
        while further and further[0].strip() and not self._begins_block(further[0]):
            own.append(further.pop(0).strip())
        inside = f"{mark}{self.inline(chr(10).join(own))}{self.blocks(further, depth + 1)}"
        if term:
            return f"<dt>{self.inline(term[1])}</dt><dd>{inside}</dd>", True
        return f"<li{value}>{inside}</li>", False

    def inline(self, text: str) -> str:
        """Return lines of Org as HTML."""
        text = _CODE.sub(lambda found: self._keep(f"<code>{escape(found[2])}</code>"), text)
        text = _FORMULA.sub(
            lambda found: self._keep(f"<formula>{escape(next(filter(None, found.groups()), ''))}</formula>"), text
        )
        text = _NOTE_MARK.sub(lambda found: self._keep(self._mark(found[1], found[2])), text)
        text = _LINK.sub(self._link, text)
        text = escape(_TARGET.sub("", text), quote=False)
        for pattern, tag in _MARKUP:
            text = pattern.sub(rf"<{tag}>\1</{tag}>", text)
        text = _SCRIPT.sub(lambda found: _script(found[1], found[2] or found[3]), text)
        text = _ENTITY.sub(lambda found: _ENTITIES.get(found[1], found[0]), text)
        text = re.sub(r"\\\\[ \t]*(?=\n|\Z)", "<br>", text)
        while _KEPT.search(text):
            text = _KEPT.sub(lambda found: self._kept[int(found[1])], text)
        return text

    def _keep(self, html: str) -> str:
        self._kept.append(html)
        return f"\ue000{len(self._kept) - 1}\ue001"

    def _mark(self, name: str, text: str | None) -> str:
        if not name:
            self._anonymous += 1
            name = f"inline-{self._anonymous}"
        if text is not None:
            self._notes[name] = ""
            self._notes[name] = f"<p>{self.inline(text.strip())}</p>"
        return f'<a role="doc-noteref" href="#fn-{escape(name)}">1</a>'

    def _link(self, found: re.Match[str]) -> str:
        address, text = found[1], found[2]
        image = re.search(r"\.(?:png|jpe?g|gif|svg|webp)\Z", address, re.IGNORECASE)
        if image and not text:
            return self._keep(f'<img src="{escape(address.removeprefix("file:"))}">')
        shown = text or address.removeprefix("*").removeprefix("#")
        if re.match(r"(?:https?|mailto|ftp):", address):
            return f"{self._keep(f'<a href={chr(34)}{escape(address)}{chr(34)}>')}{shown}{self._keep('</a>')}"
        return shown


def _script(sign: str, text: str) -> str:
    tag = "sup" if sign == "^" else "sub"
    return f"<{tag}>{text}</{tag}>"


def _index(lines: list[str], start: int, ends: Callable[[str], bool]) -> int:
    """Return the first line from *start* on that *ends* says, else the number of lines."""
    return next((index for index in range(start, len(lines)) if ends(lines[index])), len(lines))
