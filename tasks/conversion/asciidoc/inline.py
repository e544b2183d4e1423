"""What stands in a line of AsciiDoc, as HTML: quotes, macros, references, attributes, notes.

Owns the order of substitutions (AsciiDoc language documentation, "Substitutions").
"""

from __future__ import annotations

import re
from html import escape

_BUILT_IN = {
    "nbsp": "\u00a0",
    "sp": " ",
    "empty": "",
    "blank": "",
    "amp": "&",
    "lt": "<",
    "gt": ">",
    "plus": "+",
    "zwsp": "",
    "wj": "",
    "apos": "'",
    "quot": '"',
    "lsquo": "‘",
    "rsquo": "’",
    "ldquo": "“",
    "rdquo": "”",
    "deg": "°",
    "asterisk": "*",
    "backtick": "`",
    "backslash": "\\",
    "caret": "^",
    "tilde": "~",
    "vbar": "|",
    "two-colons": "::",
    "startsb": "[",
    "endsb": "]",
    "brvbar": "¦",
    "pp": "++",
    "cpp": "C++",
    "cxx": "C++",
}
_ATTRIBUTE = re.compile(r"\\?\{([\w-]+)\}")
_PASSED = re.compile(
    r"\+\+\+(.{0,4000}?)\+\+\+|\$\$(.{0,4000}?)\$\$|pass:\w{0,20}\[(.{0,4000}?)(?<!\\)\]|(?<![\w+])\+(\S(?:.{0,999}?\S)?)\+(?![\w+])",
    re.DOTALL,
)
_CODE = re.compile(r'(?<!["\'\w`])``(.{1,999}?)``|(?<![\w`"\'\\])`(\S(?:[^`]*?\S)?)`(?![\w`"\'])', re.DOTALL)
_FORMULA = re.compile(r"\b(?:stem|latexmath|asciimath):\[(.{0,4000}?)(?<!\\)\]", re.DOTALL)
_NOTE = re.compile(r"\bfootnote(?:ref)?:([\w-]{0,99})\[((?:[^\[\]\\]|\\.|\[[^\[\]]{0,999}\]){0,9999})\]")
_IMAGE = re.compile(r"\b(?:image|icon):([^:\s\[][^\s\[]*)\[([^\]]*)\]")
_LINK = re.compile(
    r"(?:\blink:|\b(?=(?:https?|ftp|irc|mailto):))([^\s\[\]&]{1,500}(?:&amp;[^\s\[\]&]{1,500}){0,50})\[([^\]]{0,999})\]"
)
_ADDRESS = re.compile(r"(?<![\w&quot;=>/])(https?://[^\s<>\[\]()]{0,999}[\w/])")
_XREF = re.compile(r"&lt;&lt;([^,&]+?)(?:,\s*(.*?))?&gt;&gt;|\bxref:([^\s\[]+)\[([^\]]*)\]", re.DOTALL)
_KEYS = re.compile(r"\b(kbd|btn|menu):([^\s\[]*)\[([^\]]*)\]")
_ANCHOR = re.compile(r"\[\[[\w:.-]{1,99}(?:,[^\]]{0,999})?\]\]|\banchor:[\w:.-]{1,99}\[[^\]]{0,999}\]")
_INDEX = re.compile(r"\(\(\((?:[^()]|\([^()]*\))*\)\)\)|\(\(([^()]+)\)\)|\bindexterm2?:\[([^\]]*)\]")
_ROLE = r"(?:\[[^\[\]\n]{0,99}\])?"
_QUOTES = (
    (re.compile(r'"`(.{1,999}?)`"', re.DOTALL), "“\\1”"),
    (re.compile(r"'`(.{1,999}?)`'", re.DOTALL), "‘\\1’"),
    (re.compile(_ROLE + r"\*\*(.{1,999}?)\*\*", re.DOTALL), "<b>\\1</b>"),
    (re.compile(r"(?<![\w*\\])" + _ROLE + r"\*(\S(?:.{0,999}?\S)??)\*(?![\w*])", re.DOTALL), "<b>\\1</b>"),
    (re.compile(_ROLE + r"__(.{1,999}?)__", re.DOTALL), "<i>\\1</i>"),
    (re.compile(r"(?<![\w_\\])" + _ROLE + r"_(\S(?:.{0,999}?\S)??)_(?![\w_])", re.DOTALL), "<i>\\1</i>"),
    (re.compile(r"\[(?:\.?line-through)\]#(\S(?:.{0,999}?\S)??)#", re.DOTALL), "<s>\\1</s>"),
    (re.compile(_ROLE + r"##(.{1,999}?)##", re.DOTALL), "\\1"),
    (re.compile(r"(?<![\w#&\\])" + _ROLE + r"#(\S(?:.{0,999}?\S)??)#(?![\w#])", re.DOTALL), "\\1"),
    (re.compile(r"\^(\S+?)\^"), "<sup>\\1</sup>"),
    (re.compile(r"~(\S+?)~"), "<sub>\\1</sub>"),
)
_REPLACED = (
    (re.compile(r"\(C\)"), "©"), (re.compile(r"\(R\)"), "®"), (re.compile(r"\(TM\)"), "™"),
    (re.compile(r"(?<=\s)--(?=\s|$)"), "—"), (re.compile(r"(?<=\w)--(?=\w)"), "—"), (re.compile(r"\.\.\."), "…"),
    (re.compile(r"(?<=\w)'(?=[A-Za-z])"), "’"), (re.compile(r"-&gt;"), "→"), (re.compile(r"=&gt;"), "⇒"),
    (re.compile(r"&lt;-"), "←"), (re.compile(r"&lt;="), "⇐"),
)  # fmt: skip
_LINE_END = re.compile(r" \+$", re.MULTILINE)
_KEPT = re.compile("\ue000(\\d+)\ue001")


class Inline:
    """Writes lines. `attributes` and `titles` (what references show) are the document's; `notes` are collected."""

    def __init__(self, attributes: dict[str, str], titles: dict[str, str]) -> None:
        self.attributes = attributes
        self.titles = titles
        self.notes: list[str] = []
        self._named: dict[str, str] = {}
        self._kept: list[str] = []
        self._depth = 0

    def html(self, text: str) -> str:
        """Return lines of AsciiDoc as HTML."""
        self._depth += 1
        if self._depth > 8:  # notes in notes
            self._depth -= 1
            return escape(text)
        text = _PASSED.sub(lambda found: self._keep(escape(next(filter(None, found.groups()), ""))), text)
        text = _FORMULA.sub(lambda found: self._keep(f"<formula>{escape(found[1])}</formula>"), text)
        text = escape(self.with_attributes(text), quote=False)
        text = _CODE.sub(lambda found: self._keep(f"<code>{found[1] or found[2]}</code>"), text)
        text = _NOTE.sub(lambda found: self._keep(self._note(found[1], found[2])), text)
        text = self._macros(text)
        for pattern, replacement in (*_QUOTES, *_REPLACED):
            text = pattern.sub(replacement, text)
        text = _LINE_END.sub("<br>", text)
        self._depth -= 1
        while _KEPT.search(text):
            text = _KEPT.sub(lambda found: self._kept[int(found[1])], text)
        return text

    def with_attributes(self, text: str) -> str:
        """Return *text* with the values of attributes; names that are not known stay."""

        def value(found: re.Match[str]) -> str:
            if found[0][0] == "\\":
                return found[0][1:]
            name = found[1].lower()
            return self.attributes.get(name, _BUILT_IN.get(name, found[0]))

        return _ATTRIBUTE.sub(value, text)

    def _keep(self, html: str) -> str:
        self._kept.append(html)
        return f"\ue000{len(self._kept) - 1}\ue001"

    def _note(self, name: str, text: str) -> str:
        if name and not text:
            key = self._named.get(name, "")
        else:
            key = f"footnote-{len(self.notes) + 1}"
            self._named[name] = key
            self.notes.append("")
            written = self.html(
                text.replace("\\]", "]").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
            )
            self.notes[int(key.rpartition("-")[2]) - 1] = f'<aside id="{key}"><p>{written}</p></aside>'
        return f'<a role="doc-noteref" href="#{key}">1</a>' if key else ""

    def _macros(self, text: str) -> str:
        text = _INDEX.sub(lambda found: found[1] or found[2] or "", text)
        text = _ANCHOR.sub("", text)
        text = _IMAGE.sub(lambda found: self._keep(self.image(found[1], found[2])), text)
        text = _LINK.sub(lambda found: self._link(found[1], found[2]), text)
        text = _ADDRESS.sub(lambda found: self._keep(f'<a href="{found[1]}">{found[1]}</a>'), text)
        text = _XREF.sub(self._reference, text)
        return _KEYS.sub(lambda found: found[2] + " > " * bool(found[2] and found[3]) + found[3], text)

    def image(self, target: str, attributes: str) -> str:
        """Return an image with its description: the first attribute without a name."""
        first = attributes.split(",")[0].strip().strip('"')
        named = re.search(r'\balt="?([^",]*)', attributes)
        alternative = named[1] if named else "" if "=" in first else first
        alt = f' alt="{escape(alternative)}"' if alternative else ""
        return f'<img src="{escape(target)}"{alt}>'

    def _link(self, address: str, text: str) -> str:
        shown = re.sub(r",\s*(?:role|window|opts|subject)=.*|\^\Z", "", text).strip().strip('"')
        shown = shown or address.removeprefix("mailto:")
        return f"{self._keep(f'<a href={chr(34)}{address}{chr(34)}>')}{shown}{self._keep('</a>')}"

    def _reference(self, found: re.Match[str]) -> str:
        name = (found[1] or found[3]).strip().lstrip("#").rpartition("#")[2]
        return (found[2] or found[4] or "").strip() or escape(self.titles.get(name, f"[{name}]"))
