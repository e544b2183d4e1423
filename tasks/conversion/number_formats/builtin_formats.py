"""Number formats that a workbook names by a number alone (ECMA-376 part 1, 18.8.30); pure.

The East Asian ids stand for dates and times in every language that has them; which separators they show does not
matter, since dates are written in ISO 8601.
"""

from __future__ import annotations

_DATE = "yyyy-mm-dd"
_MONTH = "yyyy-mm"
_TIME, _TIME_WITH_SECONDS = "h:mm", "h:mm:ss"

BUILTIN_CODES: dict[int, str] = {
    0: "General",
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    5: '"$"#,##0_);\\("$"#,##0\\)',
    6: '"$"#,##0_);[Red]\\("$"#,##0\\)',
    7: '"$"#,##0.00_);\\("$"#,##0.00\\)',
    8: '"$"#,##0.00_);[Red]\\("$"#,##0.00\\)',
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    14: _DATE,
    15: _DATE,
    16: "d-mmm",
    17: _MONTH,
    18: _TIME,
    19: _TIME_WITH_SECONDS,
    20: _TIME,
    21: _TIME_WITH_SECONDS,
    22: f"{_DATE} {_TIME}",
    **dict.fromkeys((27, 28, 29, 30, 31), _DATE),
    32: _TIME,
    33: _TIME_WITH_SECONDS,
    34: _TIME,
    35: _TIME_WITH_SECONDS,
    36: _DATE,
    37: "#,##0_);(#,##0)",
    38: "#,##0_);[Red](#,##0)",
    39: "#,##0.00_);(#,##0.00)",
    40: "#,##0.00_);[Red](#,##0.00)",
    41: '_(* #,##0_);_(* \\(#,##0\\);_(* "-"_);_(@_)',
    42: '_("$"* #,##0_);_("$"* \\(#,##0\\);_("$"* "-"_);_(@_)',
    43: '_(* #,##0.00_);_(* \\(#,##0.00\\);_(* "-"??_);_(@_)',
    44: '_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)',
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss.0",
    48: "##0.0E+0",
    49: "@",
    **dict.fromkeys((50, 51, 52, 53, 54, 57, 58), _DATE),
    55: _MONTH,
    56: _DATE,
    # Thai
    59: "0",
    60: "0.00",
    61: "#,##0",
    62: "#,##0.00",
    67: "0%",
    68: "0.00%",
    69: "# ?/?",
    70: "# ??/??",
    71: _DATE,
    72: _DATE,
    73: _DATE,
    74: _MONTH,
    75: _TIME,
    76: _TIME_WITH_SECONDS,
    77: f"{_DATE} {_TIME}",
    78: "mm:ss",
    79: "[h]:mm:ss",
    80: "mm:ss.0",
    81: _DATE,
}
