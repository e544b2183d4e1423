"""What lies on the pages of a PDF: comments, text typed onto it, values of forms, links, attached files.

Owns the calls to pdfium about annotations (ISO 32000-1 section 12.5) and forms (12.7), and where on its page each one
belongs: after the label at its left, before the one at its right, after the words that it marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ctypes import POINTER, c_ushort, cast, create_string_buffer
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.conversion.pdf.page_signs import Place, place_after, place_before, raw

# Values of the table of annotation types in fpdf_annot.h.
_TEXT, _LINK, _FREE_TEXT, _WIDGET = 1, 2, 3, 20
_MARKS = frozenset({9, 10, 11, 12})  # highlight, underline, squiggly, strike out
_WITH_COMMENT = frozenset({_TEXT, 4, 5, 6, 7, 8, 13, 14, 15})  # lines, shapes, stamps, carets, drawings
_HIDDEN = 0x02 | 0x20  # Hidden, NoView
_CHECK_BOX, _RADIO_BUTTON, _COMBO_BOX, _LIST_BOX, _TEXT_FIELD = 2, 3, 4, 5, 6
# How far (points) a label may be from its field: at the left, at the right of a box, above or below its middle.
_LABEL_LEFT, _LABEL_RIGHT, _LABEL_HEIGHT = 120.0, 30.0, 8.0
_MARK_GAP = 12.0
_MOST_TEXT = 20_000
# A page with more is no form that a person filled in.
_MOST_ANNOTATIONS = 2_000


@dataclass(frozen=True, slots=True)
class Attached:
    """One thing on a page: text typed onto it, a comment or a field's value.

    `place` is where it belongs, `before` says that it stands before what follows there. `label` names it where it has
    no place.
    """

    kind: Literal["text", "comment", "field"]
    text: str
    place: Place | None = None
    before: bool = False
    label: str = ""


@dataclass(slots=True)
class PageAttachments:
    """What lies on one page, and the addresses that its links lead to."""

    things: list[Attached] = field(default_factory=list[Attached])
    addresses: list[str] = field(default_factory=list[str])


def page_attachments(document: Any, page: Any, text_page: Any) -> PageAttachments:
    """Return what lies on a page."""
    found = PageAttachments()
    for number in range(min(raw.FPDFPage_GetAnnotCount(page.raw), _MOST_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, number)
        if not annotation:
            continue
        try:
            if raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == _LINK:
                found.addresses += _address(document, annotation)
            elif kind == _WIDGET:
                found.things += _field(document, annotation, text_page)
            else:
                found.things += _comment(annotation, kind, text_page)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return found


def attached_files(document: Any) -> list[str]:
    """Return the names of the files inside the document."""
    return [
        _string(raw.FPDFAttachment_GetName, raw.FPDFDoc_GetAttachment(document.raw, number)) or "unnamed"
        for number in range(min(raw.FPDFDoc_GetAttachmentCount(document.raw), _MOST_ANNOTATIONS))
    ]


def _address(document: Any, annotation: Any) -> Iterator[str]:
    link = raw.FPDFAnnot_GetLink(annotation)
    action = raw.FPDFLink_GetAction(link) if link else None
    if not action or raw.FPDFAction_GetType(action) != raw.PDFACTION_URI:
        return
    size = raw.FPDFAction_GetURIPath(document.raw, action, None, 0)
    buffer = create_string_buffer(size)
    raw.FPDFAction_GetURIPath(document.raw, action, buffer, size)
    address = buffer.value.decode("utf-8", "replace")
    if address:
        yield address


def _comment(annotation: Any, kind: int, text_page: Any) -> Iterator[Attached]:
    text = _value(annotation, b"Contents").strip()
    if not text:
        return
    box = _box(annotation)
    if kind == _FREE_TEXT:
        yield Attached("text", text, _label_at_the_left(text_page, box))
    elif kind in _MARKS:
        middle = (box.top + box.bottom) / 2
        end = place_after(text_page, box.right - 1, middle, _MARK_GAP, box.top - middle)
        yield Attached("comment", _by(_value(annotation, b"T").strip(), text), end)
    elif kind in _WITH_COMMENT:
        yield Attached("comment", _by(_value(annotation, b"T").strip(), text), _label_at_the_left(text_page, box))


def _by(author: str, text: str) -> str:
    return f"Comment by {author}: {text}" if author else f"Comment: {text}"


def _field(document: Any, annotation: Any, text_page: Any) -> Iterator[Attached]:
    form = document.formenv
    if form is None:
        return
    kind = raw.FPDFAnnot_GetFormFieldType(form.raw, annotation)
    name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form.raw, annotation) or _string(
        raw.FPDFAnnot_GetFormFieldName, form.raw, annotation
    )
    box = _box(annotation)
    if kind in (_CHECK_BOX, _RADIO_BUTTON):
        text = "☒" if raw.FPDFAnnot_IsChecked(form.raw, annotation) else "☐"
        middle = (box.top + box.bottom) / 2
        after = place_before(text_page, box.right + 2, middle, _LABEL_RIGHT, _LABEL_HEIGHT)
        if after is not None:
            yield Attached("field", text, after, before=True, label=name)
        else:
            yield Attached("field", text, _label_at_the_left(text_page, box), label=name)
    elif kind in (_TEXT_FIELD, _COMBO_BOX, _LIST_BOX):
        value = _string(raw.FPDFAnnot_GetFormFieldValue, form.raw, annotation).strip()
        if value:
            yield Attached("field", value, _label_at_the_left(text_page, box), label=name)


def _label_at_the_left(text_page: Any, box: Any) -> Place | None:
    middle = box.top - min((box.top - box.bottom) / 2, _LABEL_HEIGHT)
    return place_after(text_page, box.left - 1, middle, _LABEL_LEFT, _LABEL_HEIGHT)


def _box(annotation: Any) -> Any:
    box = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, box)
    return box


def _value(annotation: Any, key: bytes) -> str:
    return _string(raw.FPDFAnnot_GetStringValue, annotation, key)


def _string(call: Callable[..., int], *arguments: Any) -> str:
    """Return the text that a call of pdfium writes as UTF-16 with a final zero."""
    size = call(*arguments, None, 0)
    if size <= 2:
        return ""
    buffer = create_string_buffer(size)
    call(*arguments, cast(buffer, POINTER(c_ushort)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").replace("\r\n", "\n").replace("\r", "\n")[:_MOST_TEXT]
