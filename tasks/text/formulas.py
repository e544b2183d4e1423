"""Where formulas are in a text: ``$...$``, ``$$...$$``, ``\\(...\\)``, ``\\[...\\]``, environments of LaTeX; pure.

Owns the rule that keeps amounts of money apart from formulas. It is pandoc's (tex_math_dollars): no blank behind the
opening sign, none before the closing one, and no digit after that. "$5 and $6" has no formula.
"""

from __future__ import annotations

import re

# A formula ends in its paragraph, and within so many characters: two signs further apart have nothing in common.
_MOST = 2000

_INSIDE = r"(?:[^$\\\n]|\\[^\n]|\\?\n(?![ \t]*\n))"
_IN_DOLLARS = (
    rf"(?<![\\$])\$\$(?=[^$]){_INSIDE}{{1,{_MOST}}}?\$\$(?!\$)"
    rf"|(?<![\\$\w])\$(?![\s$]){_INSIDE}{{0,{_MOST}}}?(?<![\s\\])\$(?![\d$])"
)
_IN_BRACKETS = (
    rf"(?<!\\)\\\((?:[^\n\\]|\\[^()\n]|\\?\n(?![ \t]*\n)){{1,{_MOST}}}?\\\)"
    rf"|(?<!\\)\\\[(?:[^\n\\]|\\[^\[\]\n]|\\?\n(?![ \t]*\n)){{1,{_MOST}}}?\\\]"
)
_ENVIRONMENT = (
    rf"\\begin\{{(?P<environment>[a-z]{{1,20}}\*?)\}}(?:[^\n]|\n(?![ \t]*\n)){{0,{_MOST}}}?\\end\{{(?P=environment)\}}"
)
DOLLAR_FORMULA = re.compile(_IN_DOLLARS)
FORMULA = re.compile(f"{_IN_DOLLARS}|{_IN_BRACKETS}|{_ENVIRONMENT}")
