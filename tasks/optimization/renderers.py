"""The parser and the renderers that mdformat works with here; pure.

Owns what is replaced: renderers of mdformat that would change numbers (renumbering, padding with zeros), signs (a plus
as a bullet becomes a hyphen) or the blanks between words (columns run together).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import mdformat
import mdformat.plugins
from markdown_it import MarkdownIt
from mdformat.renderer import DEFAULT_RENDERERS, MDRenderer, RenderContext, RenderTreeNode

from tasks.optimization.proof import numbers_as_read
from tasks.optimization.segments import MAX_NESTING

FORMATTER = f"mdformat {mdformat.__version__}"

# The formatter would make one blank of several, and of a tab. Control characters pass it, and no text here has any.
# Before them is one blank, by which the formatter knows the marks of items and headings that it has to escape.
_RUN_OF_BLANKS = re.compile(r" {2,}|[ \t]*\t[ \t]*")
_RUN = " \x03"
_BLANKS = str.maketrans({" ": "\x01", "\t": "\x02"})
_SHOWN_BLANKS = str.maketrans({"\x01": " ", "\x02": "\t"})


def make_parser() -> MarkdownIt:
    """Return markdown-it as mdformat sets it up, with tables, strike-through, task lists and the renderers below."""
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING}, renderer_cls=cast(Any, MDRenderer))
    options = cast(dict[str, Any], parser.options)
    gfm = mdformat.plugins.PARSER_EXTENSIONS["gfm"]
    options["mdformat"], options["codeformatters"] = {}, {}
    options["store_labels"] = True
    options["parser_extension"] = [_OwnRenderers, gfm]
    gfm.update_mdit(parser)
    return parser


def _ordered_list(node: RenderTreeNode, context: RenderContext) -> str:
    numbers = numbers_as_read([item.info for item in node.children])
    return _items(node, context, [f"{number}{node.markup}" for number in numbers])


def _bullet_list(node: RenderTreeNode, context: RenderContext) -> str:
    return _items(node, context, [node.markup] * len(node.children))


def _items(node: RenderTreeNode, context: RenderContext, markers: Sequence[str]) -> str:
    rendered = [_item(item, context, marker) for item, marker in zip(node.children, markers, strict=True)]
    return ("\n" if _is_tight(node) else "\n\n").join(rendered)


def _item(item: RenderTreeNode, context: RenderContext, marker: str) -> str:
    indent = " " * (len(marker) + 1)
    with context.indented(len(indent)):
        first, *others = item.render(context).split("\n")
    lines = [f"{marker} {first}" if first else marker, *(f"{indent}{line}" if line else "" for line in others)]
    return "\n".join(lines)


def _is_tight(node: RenderTreeNode) -> bool:
    """Return whether a list is tight: the parser hides its paragraphs then (CommonMark 5.3)."""
    return all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")


def _thematic_break(node: RenderTreeNode, context: RenderContext) -> str:
    """Render three stars: hyphens could underline a heading or open a front matter, 70 underscores are noise."""
    return "***"


def _text(node: RenderTreeNode, context: RenderContext) -> str:
    """Render text with every blank that it has, once `with_blanks` is applied to the result."""
    token = node.token
    if token is not None:  # only the root has none
        token.content = _RUN_OF_BLANKS.sub(lambda run: _RUN + run[0].translate(_BLANKS), token.content)
    return DEFAULT_RENDERERS["text"](node, context)


def hides_blanks(text: str) -> bool:
    """Return whether *text* has the signs that stand for blanks while it is rendered: it cannot be formatted then."""
    return any(sign in text for sign in "\x01\x02\x03")


def with_blanks(rendered: str) -> str:
    """Return a rendered text with its blanks as they were."""
    return rendered.replace(_RUN, "").translate(_SHOWN_BLANKS)


class _OwnRenderers:
    """An mdformat extension (its plug-in protocol): renderers that replace those of the same name."""

    RENDERERS: Mapping[str, Any] = {
        "ordered_list": _ordered_list,
        "bullet_list": _bullet_list,
        "hr": _thematic_break,
        "text": _text,
    }
