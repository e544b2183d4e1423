"""Formulas of pages: MathML, and what MathJax, KaTeX, MediaWiki and image servers put in its place.

Owns that each formula stands once, as an element `FORMULA` whose text is LaTeX. A page often has it three times: for
the eye, for screen readers and as its source.
"""

from __future__ import annotations

import re
from collections import Counter

from tasks.conversion.formulas.mathml import to_latex
from tasks.conversion.html.tree import Element, all_text, drop, replace

FORMULA = "formula"

_TEX_SCRIPT = re.compile(r"math/(?:tex|latex)(\s*;\s*mode\s*=\s*display)?", re.IGNORECASE)
# What only shows a formula whose source stands next to it.
_SHOWN_TWICE = re.compile(r"\b(?:MathJax(?:_\w+|-\w+)?|MJX_Assistive_MathML|katex-html|mwe-math-fallback-image-\w+)\b")
_DISPLAYED = re.compile(
    r"\b(?:katex-display|math-?display|displaymath|mwe-math-fallback-image-display)\b", re.IGNORECASE
)
_IMAGE_OF_FORMULA = re.compile(r"\b(?:math|tex|latex|equation|formula|mwe-math\S*)\b", re.IGNORECASE)
_FORMULA_SERVER = re.compile(r"codecogs|latex\.php|/mathtex|mimetex|\brender/svg|\blatex\b", re.IGNORECASE)
_SIGN_OF_TEX = re.compile(r"[\\^_{}=]")
_DISPLAY_STYLE = re.compile(r"\A\{\\(?:displaystyle|textstyle)\b\s*(.*)\}\Z", re.DOTALL)


def find_formulas(root: Element, lost: Counter[str]) -> None:
    """Replace every formula of the tree; those that cannot be read keep their text and are counted as lost."""
    for script in list(root.iter("script")):
        kind = _TEX_SCRIPT.match(script.get("type") or "")
        if kind and (script.text or "").strip():
            _drop_preview(script)
            _put(script, script.text, display=bool(kind[1]))
    for container in list(root.iter("mjx-container")):
        if next(container.iter("math"), None) is None:
            lost["formula"] += 1
            drop(container)
    for math in list(root.iter("math")):
        _mathml(math, lost)
    for shown in list(root.iter("span", "div", "img", "mjx-math", "svg")):
        words = shown.get("class") or ""
        if shown.tag == "mjx-math" or (
            words and _SHOWN_TWICE.search(words) and next(shown.iter(FORMULA), None) is None
        ):
            _shown_twice(shown)
    for image in list(root.iter("img")):
        about = f"{image.get('class') or ''} {image.get('src') or ''}"
        text = image.get("alt") or ""
        is_formula = _IMAGE_OF_FORMULA.search(image.get("class") or "") or _FORMULA_SERVER.search(
            image.get("src") or ""
        )
        if is_formula and _SIGN_OF_TEX.search(text):
            _put(image, text, display=bool(_DISPLAYED.search(about)))


def _shown_twice(shown: Element) -> None:
    """Drop what shows a formula that stands next to it; an image of a formula may be all there is."""
    if shown.getparent() is None:
        return
    if shown.tag == "img" and next(shown.getparent().iter(FORMULA), None) is None:
        return
    drop(shown)


def _drop_preview(script: Element) -> None:
    before = script.getprevious()
    while before is not None and not (before.tail or "").strip() and _SHOWN_TWICE.search(before.get("class") or ""):
        further = before.getprevious()
        drop(before)
        before = further


def _mathml(math: Element, lost: Counter[str]) -> None:
    if math.getparent() is None:
        return
    display = math.get("display") == "block" or math.get("mode") == "display" or _in_display(math)
    latex = _source(math) or to_latex(math)
    if latex is None:
        lost["formula"] += 1
        replace(math, "span", " ".join(all_text(math).split()))
    else:
        _put(math, latex, display=display)


def _in_display(math: Element) -> bool:
    around = [ancestor for ancestor, _ in zip(math.iterancestors(), range(4), strict=False)]
    return any(_DISPLAYED.search(one.get("class") or "") or one.get("display") == "true" for one in around)


def _source(math: Element) -> str:
    """Return the LaTeX that the formula was made of, where the page carries it."""
    for annotation in math.iter("annotation"):
        if "tex" in (annotation.get("encoding") or "").lower() and (annotation.text or "").strip():
            return annotation.text
    alternative = math.get("alttext") or ""
    return alternative if "\\" in alternative else ""


def _put(element: Element, latex: str, *, display: bool) -> None:
    """Put the formula in the place of *element*, and of what hides its source from the eye."""
    text = latex.strip()
    styled = _DISPLAY_STYLE.match(text)
    text = (styled[1] if styled else text).strip().strip("$").strip()
    place = element
    for ancestor in element.iterancestors():
        hides = ancestor.tag in ("span", "mjx-assistive-mml", "mjx-container")
        if not hides or ancestor.getparent() is None or not _only(ancestor, place):
            break
        place = ancestor
    replace(place, FORMULA, text, display="block" if display else "inline")


def _only(ancestor: Element, child: Element) -> bool:
    """Return whether *child* is all of *ancestor*, or all of it that is meant for machines."""
    others = [one for one in ancestor if one is not child]
    words = ancestor.get("class") or ""
    if ancestor.tag == "mjx-container" or re.search(r"\b(?:katex|katex-display|mwe-math-element)\b", words):
        return True
    return not others and not (ancestor.text or "").strip() and not (child.tail or "").strip()
