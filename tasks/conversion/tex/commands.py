"""What the commands of ordinary LaTeX documents do, by name; data."""

from __future__ import annotations

import re

# Command: the element of HTML that its argument becomes.
STYLES = {
    **dict.fromkeys(("textbf", "strong"), "strong"),
    **dict.fromkeys(("emph", "textit", "textsl"), "em"),
    **dict.fromkeys(("texttt", "code", "path", "nolinkurl"), "code"),
    **dict.fromkeys(("textsuperscript", "up", "ieme"), "sup"),
    **dict.fromkeys(("sout", "st"), "s"),
    "textsubscript": "sub",
}
# Command: the element that the rest of its group becomes.
DECLARATIONS = {
    **dict.fromkeys(("bf", "bfseries"), "strong"),
    **dict.fromkeys(("it", "itshape", "em", "sl", "slshape"), "em"),
    **dict.fromkeys(("tt", "ttfamily"), "code"),
}
_ONE = """
vspace hspace bibliographystyle pagestyle thispagestyle index hyphenation graphicspath phantom vphantom hphantom
pagenumbering theoremstyle captionsetup lstset sisetup tikzset usetikzlibrary linespread newcounter stepcounter
refstepcounter newlength enlargethispage color pagecolor cellcolor selectlanguage usetheme usecolortheme geometry
hypersetup usepackage RequirePackage documentclass documentstyle PassOptionsToPackage vskip addbibresource newif
setmainfont includeonly glsadd setstretch fancyhead fancyfoot institute
"""
_TWO = "setlength addtolength markboth rule fontsize addtocounter numberwithin DeclareSIUnit setbeamertemplate"
# Commands whose arguments are no text, and how many there are.
SILENT = {
    **dict.fromkeys(_ONE.split(), 1),
    **dict.fromkeys(_TWO.split(), 2),
    "addcontentsline": 3,
    "definecolor": 3,
    "titlespacing": 4,
    "titleformat": 5,
}
_IN_FRONT = "textcolor colorbox foreignlanguage parbox scalebox rotatebox hyperlink raisebox hypertarget"
# Commands with arguments in front of the one that is text, and how many there are.
SKIPS = {**dict.fromkeys(_IN_FRONT.split(), 1), "resizebox": 2, "fcolorbox": 2}

SECTIONS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph")
CITES = re.compile(r"(?:no)?[cC]ite\w*|(?:paren|text|auto|foot|smart|full)cite\w*")
NOTES = frozenset({"footnote", "thanks", "endnote", "sidenote", "marginpar", "marginnote", "footnotetext"})
REFERENCES = frozenset({"ref", "eqref", "pageref", "autoref", "cref", "Cref", "vref", "nameref", "labelcref"})
FILES = frozenset({"input", "include", "subfile", "import", "includepdf", "bibliography", "printbibliography"})
QUANTITIES = frozenset("SI qty si unit num ang SIrange qtyrange numrange numlist qtylist".split())  # noqa: SIM905
PARAGRAPH_ENDS = ("par", "newpage", "clearpage", "cleardoublepage", "bigskip", "medskip", "smallskip")
