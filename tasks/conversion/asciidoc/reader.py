"""AsciiDoc documents: header, attributes, conditions and blocks.

Owns the block structure (AsciiDoc language documentation, "Blocks"), which is read line by line. Files that a document
includes are not read, and counted as lost.
"""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from pathlib import Path

from blocks.errors import UnreadableDocument
from tasks.conversion.asciidoc import tables
from tasks.conversion.asciidoc.inline import Inline
from tasks.conversion.html.page import write_page
from tasks.conversion.plain.reader import load_text
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.losses import losses

CONVERTER = "waybill-asciidoc 1"

_MAX_DEPTH = 40
_ATTRIBUTE = re.compile(r":(!?[\w-]+!?):(?:\s+(.*))?")
_SECTION = re.compile(r"(={1,6}|#{1,6})\s+(\S.*)")
_BLOCK_ATTRIBUTES = re.compile(r"\[(?!\[)([^\]]*)\]\s*")
_BLOCK_ANCHOR = re.compile(r"\[\[([\w:.-]+)(?:,\s*(.*))?\]\]\s*")
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|```\w*|[|,:!]={3,})\s*")
_ITEM = re.compile(r"\s*(\*{1,6}|-|\.{1,6}|\d{1,9}\.|[a-zA-Z]\.|<(?:\d+|\.)>)\s+(\S.*)")
_TERM = re.compile(r"\s*(\S.*?)(:{2,4}|;;)(?:\s+(.*))?")
_CHECK = re.compile(r"\[([ xX*])\]\s+(.*)")
_CONDITION = re.compile(r"(ifdef|ifndef|ifeval|endif)::([\w,+-]*)\[(.*)\]\s*")
_INCLUDE = re.compile(r"(?:include|plantuml|ditaa|graphviz)::[^\s\[]*\[[^\]]*\]\s*")
_MEDIA = re.compile(r"(image|video|audio)::([^\s\[]+)\[([^\]]*)\]\s*")
_ADMONITION = re.compile(r"(NOTE|TIP|IMPORTANT|WARNING|CAUTION):\s+(.*)")
_ADMONITIONS = ("NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION")
_NAMED = re.compile(r"""([\w-]+)\s*=\s*("[^"]*"|'[^']*'|[^,]*)""")
_AUTHOR = re.compile(r"[\w.'-]+(?: [\w.'-]+){0,3}(?: <[^<>]+>)?(?:; .+)?")
_DATE = re.compile(r"(?:v[\d.]+,?\s*)?(\d{4}-\d\d-\d\d)?.*")
_STYLES = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I", "arabic": "1"}


def read_asciidoc(path: Path, shown: str) -> Reading:
    """Return the document as Markdown. Raises `UnreadableDocument` for one that is nested too deeply."""
    text, warnings = load_text(path, None)
    document = _Document(re.sub("[\ue000\ue001]", "", text).split("\n"))  # marks of `inline`
    try:
        body = document.html()
    except RecursionError as error:
        raise UnreadableDocument(
            f"{shown!r} (AsciiDoc document) is nested too deeply to be read; simplify it"
        ) from error
    written = write_page(f"<html><body>{body}</body></html>".encode("utf-8", "replace"), ())
    return Reading(
        body=clean_text(written.markdown),
        converter=CONVERTER,
        title=single_line(document.title) or None,
        created=document.date or None,
        fields={"author": document.author} if document.author else {},
        warnings=(*warnings, *written.warnings, *losses(document.lost)),
    )


class _Document:
    def __init__(self, lines: list[str]) -> None:
        self.title = self.author = self.date = ""
        self.lost: Counter[str] = Counter()
        self._attributes: dict[str, str] = {}
        self._inline = Inline(self._attributes, {})
        self._open: list[str] = []  # the signs of the lists around the place
        self._lines = self._included(lines)

    def html(self) -> str:
        """Return the body of the document."""
        header = self._header()
        self._find_titles()
        blocks = self._blocks(self._lines, 0)
        return "".join([header, blocks, *self._inline.notes])

    def _included(self, lines: list[str]) -> list[str]:
        """Return the lines that conditions leave, without comments; attributes of the header decide."""
        kept: list[str] = []
        conditions: list[bool] = []
        fence = ""
        for line in lines:
            found = _CONDITION.fullmatch(line)
            if found and not fence.startswith(("-", ".")):
                self._condition(found, conditions, kept)
            elif all(conditions):
                if re.fullmatch(r"(?:/{4,}|-{4,}|\.{4,})\s*", line) and fence in ("", line.strip()):
                    fence = "" if fence else line.strip()
                    kept += [line] * (line[0] != "/")
                elif fence.startswith("/") or (not fence and line.startswith("//") and not line.startswith("///")):
                    continue
                elif not fence and _INCLUDE.fullmatch(line):
                    self.lost["included-file"] += 1
                else:
                    if attribute := _ATTRIBUTE.fullmatch(line):
                        self._set(attribute)
                    kept.append(line)
        return kept

    def _condition(self, found: re.Match[str], conditions: list[bool], kept: list[str]) -> None:
        kind, names, text = found.groups()
        if kind == "endif":
            if conditions:
                conditions.pop()
            return
        defined = [name in self._attributes for name in re.split(r"[,+]", names)]
        holds = all(defined) if "+" in names else any(defined)
        holds = not holds if kind == "ifndef" else holds if kind == "ifdef" else True
        if text and kind != "ifeval":
            kept += [text] * (holds and all(conditions))
        else:
            conditions.append(holds)

    def _set(self, found: re.Match[str]) -> None:
        name = found[1].strip("!").lower()
        if "!" in found[1]:
            self._attributes.pop(name, None)
        else:
            self._attributes[name] = self._inline.with_attributes(found[2] or "")[:10_000]

    def _header(self) -> str:
        """Read the title, the author's and the revision's line, and step behind them."""
        lines = self._lines
        at = next((index for index, line in enumerate(lines) if line.strip() and not _ATTRIBUTE.fullmatch(line)), None)
        if at is None or not re.match(r"[=#]\s+\S", lines[at]):
            return ""
        title = lines[at][1:].strip()
        end = at + 1
        about: list[str] = []
        while end < len(lines) and lines[end].strip():
            if not _ATTRIBUTE.fullmatch(lines[end]):
                about.append(lines[end].strip())
            end += 1
        heading = self._inline.html(title)
        self.title = re.sub(r"<[^>]*>", "", heading)
        self.author = self._attributes.get("author", "")
        self.date = self._attributes.get("revdate", "")
        if about and _AUTHOR.fullmatch(about[0]):
            self.author = "; ".join(re.sub(r"\s*<[^<>]*>", "", name).strip() for name in about.pop(0).split(";"))
            if about and (date := _DATE.fullmatch(about[0])) and date[1]:
                self.date = date[1]
        self._lines = lines[end:]
        further = [self.author, self.date] + [line for line in about if self.date not in line or not self.date]
        return f"<h1>{heading}</h1>" + "".join(f"<p>{escape(line)}</p>" for line in further if line)

    def _find_titles(self) -> None:
        """Note what references show: the title of a section by its own name and by the one that is made of it."""
        names: list[str] = []
        for line in self._lines:
            if anchor := _BLOCK_ANCHOR.fullmatch(line):
                names.append(anchor[1])
                if anchor[2]:
                    self._inline.titles[anchor[1]] = anchor[2]
            elif (attributes := _BLOCK_ATTRIBUTES.fullmatch(line)) and (own := re.search(r"#([\w:-]+)", attributes[1])):
                names.append(own[1])
            elif (section := _SECTION.fullmatch(line)) or re.match(r"\.\S", line):
                title = section[2] if section else line[1:]
                made = "_" + re.sub(r"\W+", "_", title.lower()).strip("_")
                self._inline.titles |= dict.fromkeys((*names, made), title)
                names = []
            elif line.strip():
                names = []

    # Blocks

    def _blocks(self, lines: list[str], depth: int) -> str:
        """Return *lines* as blocks of HTML."""
        if depth > _MAX_DEPTH:
            return f"<pre>{escape(chr(10).join(lines))}</pre>"
        parts: list[str] = []
        at = 0
        attributes: dict[str, str] = {}
        title = ""
        while at < len(lines):
            line = lines[at]
            if not line.strip() or line.strip() == "+":
                at += 1
            elif attribute := _ATTRIBUTE.fullmatch(line):
                self._set(attribute)
                at += 1
            elif _BLOCK_ANCHOR.fullmatch(line):
                at += 1
            elif found := _BLOCK_ATTRIBUTES.fullmatch(line):
                attributes |= _parsed(self._inline.with_attributes(found[1]))
                at += 1
            elif re.match(r"\.[^\s.]", line) and not _ITEM.fullmatch(line):
                title = self._inline.html(line[1:].strip())
                at += 1
            else:
                block, at = self._block(lines, at, attributes, depth)
                parts.append((f"<p><i>{title}</i></p>" if title else "") + block)
                attributes, title = {}, ""
        return "".join(parts)

    def _block(self, lines: list[str], at: int, attributes: dict[str, str], depth: int) -> tuple[str, int]:
        """Return the block that begins at a line, and the line behind it."""
        line = lines[at]
        if _DELIMITER.fullmatch(line):
            return self._delimited(lines, at, attributes, depth)
        if section := _SECTION.fullmatch(line):
            level = min(6, len(section[1]))
            return f"<h{level}>{self._inline.html(section[2])}</h{level}>", at + 1
        if media := _MEDIA.fullmatch(line):
            kind, target, given = media.groups()
            image = self._inline.image(self._inline.with_attributes(target), given)
            return f"<p>{image}</p>" if kind == "image" else f"<{kind} src='{escape(target)}'></{kind}>", at + 1
        if re.fullmatch(r"'{3,}|<{3,}|-{3}|\*{3}", line.strip()):
            return "<hr>" if line.strip()[0] != "<" else "", at + 1
        if _ITEM.fullmatch(line) or _TERM.fullmatch(line):
            return self._list(lines, at, attributes, depth)
        end = at
        while end < len(lines) and lines[end].strip() and not (end > at and self._ends_paragraph(lines[end])):
            end += 1
        return self._paragraph(lines[at:end], attributes), end

    def _ends_paragraph(self, line: str) -> bool:
        return bool(_DELIMITER.fullmatch(line) or _BLOCK_ATTRIBUTES.fullmatch(line)) or line.strip() == "+"

    def _paragraph(self, lines: list[str], attributes: dict[str, str]) -> str:
        style = attributes.get("1", "")
        if lines[0][:1] in (" ", "\t") or style in ("literal", "listing", "source"):
            return _code(lines, attributes)
        if style in ("quote", "verse"):
            return self._quote("<br>".join(map(self._inline.html, lines)), attributes)
        text = self._inline.html("\n".join(lines))
        found = _ADMONITION.match(lines[0])
        if found:
            return f"<p><b>{found[1].capitalize()}:</b> {self._inline.html(chr(10).join([found[2], *lines[1:]]))}</p>"
        label = f"<b>{style.capitalize()}:</b> " if style in _ADMONITIONS else ""
        return f"<p>{label}{text}</p>"

    def _quote(self, content: str, attributes: dict[str, str]) -> str:
        source = ", ".join(filter(None, (attributes.get("2"), attributes.get("3"))))
        return f"<blockquote>{content}{f'<p>— {escape(source)}</p>' if source else ''}</blockquote>"

    def _delimited(self, lines: list[str], at: int, attributes: dict[str, str], depth: int) -> tuple[str, int]:
        mark = lines[at].strip()
        closing = "```" if mark.startswith("```") else mark
        end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == closing), len(lines))
        inside, style = lines[at + 1 : end], attributes.get("1", "")
        if mark[1:4] == "===" and mark[0] in "|,:!":
            attributes = attributes | ({"format": {",": "csv", ":": "dsv"}[mark[0]]} if mark[0] in ",:" else {})
            return tables.html(inside, attributes, self._inline.html), end + 1
        if mark[0] in "-.`" and mark != "--":
            language = mark.removeprefix("```") if mark[0] == "`" else attributes.get("2", "")
            return _code(inside, attributes | {"2": language}), end + 1
        if mark[0] == "+":
            formula = style in ("stem", "latexmath", "asciimath")
            text = escape("\n".join(inside))
            return (f"<formula display='block'>{text}</formula>" if formula else f"<pre>{text}</pre>"), end + 1
        if style == "verse":
            return self._quote("<br>".join(map(self._inline.html, inside)), attributes), end + 1
        content = self._blocks(inside, depth + 1)
        if mark[0] == "_" or style == "quote":
            return self._quote(content, attributes), end + 1
        label = f"<p><b>{style.capitalize()}:</b></p>" if style in _ADMONITIONS else ""
        return f"<div>{label}{content}</div>", end + 1

    def _list(self, lines: list[str], at: int, attributes: dict[str, str], depth: int) -> tuple[str, int]:
        """Return the list whose first item is at a line: items with its sign are its, others are inside of them."""
        first = lines[at]
        kind = _sign(first)
        items: list[str] = []
        while at < len(lines) and _sign(lines[at]) == kind:
            content, at = self._item(lines, at, kind, depth)
            items.append(content)
        if kind[:1] in (":", ";"):
            return f"<dl>{''.join(items)}</dl>", at
        tag = "ol" if kind[0] in ".1a<" else "ul"
        given = _STYLES.get(attributes.get("1", ""), "") or ("a" if kind == "a" else "")
        first_number = re.match(r"\s*(\d+)\.", first)
        start = attributes.get("start") or (first_number[1] if first_number else "1")
        options = f"{attributes.get('options', '')}{attributes.get('1', '')}"
        if tag == "ul":
            return f"<ul>{''.join(items)}</ul>", at
        level = given or ("1" if kind[0] != "." else "1aiAI"[(len(kind) - 1) % 5])
        backwards = " reversed" if "reversed" in options else ""
        return f"<ol type='{level}' start='{escape(start)}'{backwards}>{''.join(items)}</ol>", at

    def _item(self, lines: list[str], at: int, kind: str, depth: int) -> tuple[str, int]:
        """Return an item with the lines that belong to it, and the line behind it."""
        if depth > _MAX_DEPTH:
            return f"<li>{escape(lines[at])}</li>", at + 1
        item, term = _ITEM.fullmatch(lines[at]), _TERM.fullmatch(lines[at])
        is_term = kind[:1] in (":", ";")
        text = (term[3] or "") if is_term and term else item[2] if item else ""
        at += 1
        own: list[str] = [text] if text else []
        while at < len(lines) and lines[at].strip() and not self._begins_other(lines[at]):
            own.append(lines[at].strip())
            at += 1
        if is_term and not own:
            following = next((i for i in range(at, len(lines)) if lines[i].strip()), len(lines))
            if following < len(lines) and not self._begins_other(lines[following]) and following - at <= 1:
                at = following
                while at < len(lines) and lines[at].strip() and not self._begins_other(lines[at]):
                    own.append(lines[at].strip())
                    at += 1
        check = _CHECK.fullmatch(own[0]) if own and kind[:1] in "*-" else None
        mark = ""
        if check:
            mark = f"<input type='checkbox'{' checked' if check[1] != ' ' else ''}>"
            own[0] = check[2]
        inside, at = self._attached(lines, at, kind, depth)
        content = f"{mark}{self._inline.html(chr(10).join(own))}{inside}"
        if is_term and term:
            return f"<dt>{self._inline.html(term[1])}</dt>{f'<dd>{content}</dd>' if content else ''}", at
        return f"<li>{content}</li>", at

    def _attached(self, lines: list[str], at: int, kind: str, depth: int) -> tuple[str, int]:
        """Return what belongs to an item behind its text: blocks after a plus sign, and lists with another sign."""
        parts: list[str] = []
        while at < len(lines):
            following = next((i for i in range(at, len(lines)) if lines[i].strip()), len(lines))
            if following == len(lines):
                break
            if lines[at].strip() == "+":
                given: dict[str, str] = {}
                at += 1
                while at < len(lines) and not lines[at].strip():
                    at += 1
                while at < len(lines) and (found := _BLOCK_ATTRIBUTES.fullmatch(lines[at])):
                    given |= _parsed(found[1])
                    at += 1
                if at < len(lines) and not lines[at].strip():
                    continue
                if at < len(lines):
                    block, at = self._block(lines, at, given, depth + 1)
                    parts.append(block)
            elif (sign := _sign(lines[following])) and sign != kind and sign not in self._open:
                self._open.append(kind)
                block, at = self._list(lines, following, {}, depth + 1)
                self._open.pop()
                parts.append(block)
            else:
                # Empty lines may stand between two items of a list.
                at = following if _sign(lines[following]) in (kind, *self._open) else at
                break
        return "".join(parts), at

    def _begins_other(self, line: str) -> bool:
        return bool(_sign(line)) or line.strip() == "+" or self._ends_paragraph(line)


def _sign(line: str) -> str:
    """Return the sign of a list's item; empty for other lines."""
    if found := _ITEM.fullmatch(line):
        sign = found[1]
        return "1" if sign[0].isdigit() else "a" if sign[0].isalpha() else "<" if sign[0] == "<" else sign
    term = _TERM.fullmatch(line)
    return term[2] if term and not line.startswith(("image::", "video::", "|")) else ""


def _code(lines: list[str], attributes: dict[str, str]) -> str:
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    style = attributes.get("1", "")
    language = attributes.get("2", "") if style in ("source", "") or style.startswith("source") else ""
    named = f' data-language="{escape(language)}"' if language else ""
    text = "\n".join(line[indent:] if not style else line for line in lines)
    return f"<pre{named}>{escape(text)}</pre>"


def _parsed(text: str) -> dict[str, str]:
    """Return the attributes of a block: by their place, and by their name."""
    named = {found[1]: found[2].strip().strip("\"'") for found in _NAMED.finditer(text)}
    placed = [part.strip() for part in _NAMED.sub("", text).split(",")]
    return {str(place): value.strip('"') for place, value in enumerate(placed, 1) if value} | named
