"""Jupyter notebooks: Markdown cells as they are, code with its language, what it printed line by line.

Owns the cells of nbformat 4 and of its predecessors 2 and 3, which are read as if they were of 4. What a cell printed
is a code block of the kind `text`, so that its signs, columns and lines are no Markdown. Pictures are counted as lost.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.notebook.markdown_piece import closed
from tasks.conversion.notebook.outputs import Outputs, text_of
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.plain.reader import as_code_block
from tasks.conversion.reading import Reading, clean_text, single_line
from tasks.losses import losses

CONVERTER = "waybill-notebook 1"

_MAX_HEADING_LEVEL = 6
_MAX_LANGUAGE_CHARACTERS = 30

_WORD = re.compile(r"[^\W_]")
_NOT_A_LANGUAGE = re.compile(r"[^\w+#.-]")
_CELL_MAGIC = re.compile(r"\s*%%(bash|sh|html|javascript|js|latex|markdown|perl|ruby|sql|svg|R|cython)\b")
_HEADER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*\Z", re.DOTALL)
# Kernels that are not called by their language.
_KERNELS = {"ipython": "python", "ir": "r", "xcpp": "c++", "deno": "typescript", "gophernotes": "go"}
_IMAGE_DATA = re.compile(r"data:image/[\w.+-]{1,40};base64,[A-Za-z0-9+/=%]*")
_ATTACHED = re.compile(r"!\[([^\]\n]{0,500})\]\(attachment:([^)\s]{1,500})[^)\n]{0,500}\)")
_INLINE_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\(data:[^)\n]{0,500}\)")
_NAME_OF_PICTURE = re.compile(
    r"(?:image|picture|figure|unnamed)?[ _-]*\d*|\S+\.(?:png|jpe?g|gif|svg|webp)", re.IGNORECASE
)


def read_notebook(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the notebook's cells in order. Raises `UnreadableDocument`."""
    notebook = _load(path, file_type, shown)
    reader = _NotebookReader(notebook)
    blocks = list(reader.blocks())
    has_words = any(_WORD.search(text) for text in reader.texts)
    metadata = _mapping(notebook.get("metadata"))
    return Reading(
        body="\n\n".join(blocks) + "\n" if blocks and has_words else "",
        converter=CONVERTER,
        title=single_line(metadata["title"]) or None if isinstance(metadata.get("title"), str) else None,
        warnings=losses(reader.lost) + reader.outputs.warnings(),
    )


def _load(path: Path, file_type: FileType, shown: str) -> Mapping[str, Any]:
    try:
        loaded: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise UnreadableDocument(
            f"{shown!r} could not be read as {file_type.label} (it is not valid JSON); check that it opens and send it "
            "again"
        ) from exc
    if not isinstance(loaded, dict):
        raise UnreadableDocument(f"{shown!r} could not be read as {file_type.label}; check that it opens")
    return cast("Mapping[str, Any]", loaded)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects of a list, without anything else in it."""
    return [_mapping(item) for item in cast("list[object]", value) if item] if isinstance(value, list) else []


class _NotebookReader:
    """The cells of one notebook as Markdown; `texts` are what they hold without the marks around it."""

    def __init__(self, notebook: Mapping[str, Any]) -> None:
        self._notebook = notebook
        self._language = _language(_mapping(notebook.get("metadata")))
        self.lost: Counter[str] = Counter()
        self.texts: list[str] = []
        self.outputs = Outputs(self.lost)

    def blocks(self) -> Iterator[str]:
        for number, cell in enumerate(self._cells()):
            for block in self._cell(cell, is_first=number == 0):
                if block.strip():
                    yield block.strip("\n")

    def _cells(self) -> list[Mapping[str, Any]]:
        """Return the cells; up to nbformat 3 they are in worksheets."""
        cells = _items(self._notebook.get("cells"))
        for sheet in _items(self._notebook.get("worksheets")):
            cells += _items(sheet.get("cells"))
        return cells

    def _cell(self, cell: Mapping[str, Any], *, is_first: bool) -> Iterator[str]:
        kind = cell.get("cell_type")
        source = clean_text(next((text_of(cell[name]) for name in ("source", "input", "text") if cell.get(name)), ""))
        if kind == "code":
            if source.strip():
                self.texts.append(source)
                yield as_code_block(source.rstrip(), self._cell_language(cell, source))
            for block in self.outputs.blocks(_items(cell.get("outputs"))):
                self.texts.append(block.removeprefix("```text"))
                yield block
        elif kind == "heading":
            level = cell.get("level")
            depth = level if isinstance(level, int) and 0 < level <= _MAX_HEADING_LEVEL else 1
            self.texts.append(source)
            yield f"{'#' * depth} {single_line(source)}"
        elif kind == "raw":
            self.texts.append(source)
            yield self._raw(cell, source, is_first=is_first)
        elif kind in ("html", "rst"):  # nbformat 2
            self.texts.append(source)
            yield self.outputs.html(source) if kind == "html" else as_code_block(source, "rst")
        elif source:
            self.texts.append(source)
            yield self._markdown(cell, source)

    def _cell_language(self, cell: Mapping[str, Any], source: str) -> str:
        """Return the language of a cell: its own, as notebooks of several languages have it, or the kernel's."""
        metadata = _mapping(cell.get("metadata"))
        magic = _CELL_MAGIC.match(source)
        own = (
            _mapping(metadata.get("vscode")).get("languageId"),
            _mapping(metadata.get("dotnet_interactive")).get("language"),
            _mapping(metadata.get("polyglot_notebook")).get("kernelName"),
            magic[1] if magic else None,
            None if self._language else cell.get("language"),
        )
        return next((_info_string(name) for name in own if isinstance(name, str) and name), self._language)

    def _markdown(self, cell: Mapping[str, Any], source: str) -> str:
        """Return a Markdown cell, with the names of attached pictures in their place, and closed at its end."""
        text = _IMAGE_DATA.sub("data:", source) if "data:image/" in source else source
        self.lost["image"] += len(_ATTACHED.findall(text)) + len(_INLINE_IMAGE.findall(text))
        text = _ATTACHED.sub(_attachment, _INLINE_IMAGE.sub(_described, text))
        named = set(_ATTACHED.findall(source))
        others = [name for name in _mapping(cell.get("attachments")) if not any(name == link[1] for link in named)]
        if others and "attachment:" not in source:
            text = "\n\n".join([text.rstrip("\n"), *(f"attachment: {single_line(name)}" for name in others)])
        return closed(text)

    def _raw(self, cell: Mapping[str, Any], source: str, *, is_first: bool) -> str:
        """Return a cell that is meant for another program: in its format if it has one, else as plain text."""
        metadata = _mapping(cell.get("metadata"))
        kind = str(metadata.get("raw_mimetype") or metadata.get("format") or "")
        if is_first and _HEADER.match(source.strip()):  # Quarto and Jupytext keep the document's header in it
            return as_code_block(source, "yaml")
        if kind == "text/markdown":
            return closed(source)
        if kind == "text/html":
            return self.outputs.html(source)
        if kind in ("text/latex", "text/restructuredtext", "text/x-rst", "text/asciidoc"):
            return as_code_block(source, {"text/latex": "latex", "text/asciidoc": "asciidoc"}.get(kind, "rst"))
        return plain_to_markdown(source)


def _attachment(image: re.Match[str]) -> str:
    description, name = image[1].strip(), image[2]
    if _NAME_OF_PICTURE.fullmatch(description):
        return f"attachment: {name}"
    return f"{description} (attachment: {name})"


def _described(image: re.Match[str]) -> str:
    return "" if _NAME_OF_PICTURE.fullmatch(image[1].strip()) else image[1].strip()


def _language(metadata: Mapping[str, Any]) -> str:
    """Return the language of the notebook's code; empty when it is not known."""
    kernel = _mapping(metadata.get("kernelspec"))
    for name in (_mapping(metadata.get("language_info")).get("name"), kernel.get("language"), metadata.get("language")):
        if isinstance(name, str) and name.strip():
            return _info_string(name)
    name = kernel.get("name")
    return _info_string(re.sub(r"[\d.-]+$", "", name)) if isinstance(name, str) else ""


def _info_string(name: str) -> str:
    word = _NOT_A_LANGUAGE.sub("", name.strip().lower())[:_MAX_LANGUAGE_CHARACTERS]
    return _KERNELS.get(word, word)
