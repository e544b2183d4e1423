"""Plain text as Markdown: a parser reads the same lines in it that the text has, and no markup."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.reading import clean_text

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")


def lines_read(markdown: str) -> list[str]:
    """Return the lines that CommonMark and GFM read in *markdown*, with the signs of lists and quotations."""
    lines: list[str] = []
    prefix: list[str] = []
    numbers: list[int | None] = []
    mark = ""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        kind = token.type
        if kind == "blockquote_open":
            prefix.append("> ")
        elif kind == "blockquote_close":
            prefix.pop()
        elif kind in ("bullet_list_open", "ordered_list_open"):
            numbers.append(int(token.attrs.get("start", 1)) if token.tag == "ol" else None)
        elif kind in ("bullet_list_close", "ordered_list_close"):
            numbers.pop()
        elif kind == "list_item_open":
            number = numbers[-1]
            mark = token.markup if number is None else f"{number}{token.markup}"
            numbers[-1] = None if number is None else number + 1
        elif kind == "fence":
            assert token.info == "text"
            lines += ["".join(prefix) + line for line in token.content.split("\n") if line.strip()]
        elif kind == "inline":
            children = token.children or []
            assert all(child.type in ("text", "text_special", "softbreak") for child in children), markdown
            text = "".join("\n" if child.type == "softbreak" else child.content for child in children)
            lines += ["".join(prefix) + line for line in f"{mark} {text}".split("\n")]
            mark = ""
        else:
            assert kind in ("paragraph_open", "paragraph_close", "list_item_close"), f"{kind} in {markdown!r}"
    return [_trimmed(line) for line in lines]


def lines_of(text: str) -> list[str]:
    """Return the lines of plain *text* that have any sign, with the blanks inside of them."""
    lines = re.split("[\n\u2029]", clean_text(text))
    return [_trimmed(line) for line in lines if line.strip() and _INVISIBLE.sub("", line).strip()]


def _trimmed(line: str) -> str:
    """Return *line* without blanks around it, and with one blank after the mark of an item."""
    return re.sub(r"^([-+*]|\d+[.)])\s+", r"\1 ", line.strip())


_SAMPLES = [
    *("- item", "* item", "+ rise", "+ 3 %", "1. one", "2. two", "3) three", "1986. Year", "# 12", "===", "---", "--"),
    *("***", "___", "> said", ">> said", ">From", "```", "~~~ x", "    code", "\ttab", "a  b", "31    520 kg"),
    *("| a | b |", "|---|---|", "a | b", "--|--", "<b>bold</b>", "<ada@example.org>", "<!-- x", "<div>", "-->"),
    *("[a]: b", "[a]", "[a][b]", "[^1]: note", "x[^1]", "![i](u)", "&amp; &copy", "*hot* **x**", "a_b_c _d_"),
    *("~~gone~~", "H~2~O", "10^3^", "$5 and $6", "$x_1$", "\\(a\\)", "C:\\_x", "end\\", "two blanks  ", "- [ ] do"),
    *("- a", "  - b", "    - c", "  1. d", "  going on", "1. Mai 2024", "2. Mai 2024", "├── x", "..... 7", "", ""),
    *("Sentence.  Next one", "2024-01-02 10:00:00 INFO x", "\u200b# hidden", "-\u00ad x", "\u3000全角", "Ã  la"),
]
_LINES = st.one_of(st.text(alphabet="ab \t-*_#>`|[]()\\<&;1.~!:=+$^\"'x", max_size=24), st.sampled_from(_SAMPLES))
_TEXTS = st.one_of(st.lists(_LINES, max_size=12).map("\n".join), st.text(max_size=60))


@settings(max_examples=300)
@given(_TEXTS)
@example("- a\n b\n- c\n\n    - d")
@example("1. a\n\n1. b")
@example("[a\nb]: c")
@example("a\n=")
def test_a_parser_reads_the_same_lines(text: str) -> None:
    read = lines_read(plain_to_markdown(clean_text(text)))
    assert [_visible(line) for line in read] == [_visible(line) for line in lines_of(text)]


def _visible(line: str) -> str:
    return _trimmed(_INVISIBLE.sub("", line))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["", "> ", "> > ", ">"]), _LINES), max_size=10))
def test_a_parser_reads_the_same_lines_and_quotations(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(sign + line for sign, line in lines)
    read = lines_read(plain_to_markdown(text, quotes=True))
    assert _bare(read) == _bare(lines_of(text))


def _bare(lines: list[str]) -> list[str]:
    """Return the lines without blanks and signs of quotation: of a line that has nothing else, nothing."""
    return [bare for line in lines if (bare := re.sub(r"[>\s]|" + _INVISIBLE.pattern, "", line))]


@pytest.mark.parametrize(
    "text",
    [
        "A plain sentence, with 5 * 3 = 15 and snake_case, #5, a < b, AT&T, f(x)[1], ~5 km.",
        "In 1986 the line of which was opened in\n1986 C:\\temp is full; $5 and $6 (A$7).",
        "Two sentences.  Typed with two blanks.\nThe keeper  is the one who has the keys of the upper station.",
    ],
)
def test_text_without_markup_stays_as_it_is(text: str) -> None:
    assert plain_to_markdown(text) == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("+ 3 % in the north", "\\+ 3 % in the north"),
        ("Minutes\n==", "Minutes\n\\=="),
        (
            "Minutes\n=======\nThe board met at the upper station on Monday.",
            "```text\nMinutes\n=======\n```\n\nThe board met at the upper station on Monday.",
        ),
        ("Ada\n--", "Ada\n\\--"),
        ("     Indented prose\n     goes on.", "Indented prose\ngoes on."),
        ("1986. A great year", "1986\\. A great year"),
        ("See:\n* one\n* two\nThanks", "See:\n\n* one\n* two\n\nThanks"),
        ("+ rise, as\n  seen\n\n+ fall", "+ rise, as\n  seen\n\n+ fall"),
        ("3. Vote\n4. Close", "3. Vote\n4. Close"),
        ("<b>x</b> [a](b) $x_1$ *y*", "\\<b>x\\</b> [a]\\(b) \\$x_1\\$ \\*y\\*"),
        ("> 5 is more", "\\> 5 is more"),
        ("ends in a\\\nbackslash", "ends in a\\\\\nbackslash"),
    ],
)
def test_markup_is_escaped_where_it_would_be_read(text: str, markdown: str) -> None:
    assert plain_to_markdown(text) == f"{markdown}\n"


@pytest.mark.parametrize(
    "text",
    [
        "Car   Mass\n31    520 kg\n34    48 kg",
        "Name\tAge\nAda\t31",
        "Personnel ............ 7,6\nEnergy ........ 2,1",
        "server/\n├── bin\n└── etc",
        "+---+---+\n| a | b |\n+---+---+",
        "a | b\n--|--\n1 | 2",
        "2024-01-02 10:00:00 INFO start\n2024-01-02 10:00:01 WARN <slow>",
        "[10:02] Ada: hello\n[10:03] Bo: *hi*",
        "def f(x):\n    if x:\n        return 1",
        "Date:     3 June\n          and 4 June",
        "~~~\nx   y\n````",
        "Minutes of the board that met on 3 June 2024\n-------",
        "name;mass;price\nCar 31;520;12,50\nCar 34;48;3,00",
        "+ 3 % in the north\n- 2 % in the west",
        "1. Mai 2024: Fahrt\n2. Mai 2024: Fest",
        "1. Vorsitzender: Ada\n2. Vorsitzende: Bo",
        "- [ ] buy milk\n- [x] call Bo",
        "Ada Keeper\nHarbour Office\nPO Box 1986\n1986 Port Brenner\n+ 41 55 123 45 67\n- 12 °C",
        "The rack it turned, the cog it bit,\n  The keeper lit his pipe;\nAnd up the hill",
        "Total\n-----\n- Fares:   48\n- Grease:  31",
    ],
)
def test_a_layout_is_kept_word_for_word(text: str) -> None:
    fence = "`````" if "````" in text else "```"
    assert plain_to_markdown(text) == f"{fence}text\n{text}\n{fence}\n"


def test_layouts_apart_by_empty_lines_are_one_block() -> None:
    text = "Car   Mass\n31    520 kg\n\n\n34    48 kg"
    assert plain_to_markdown(f"Masses\n\n{text}\n\nEnd") == f"Masses\n\n```text\n{text}\n```\n\nEnd\n"


def test_narrow_prose_is_prose() -> None:
    text = "The keeper of the station\nreports that the rack bar\nwas renewed, and that Bo\nhas weighed the cars."
    assert plain_to_markdown(text) == f"{text}\n"


def test_justified_prose_is_prose() -> None:
    text = "the  keeper of the  upper station\nreports  that the rack bar of its\nwas renewed."
    assert plain_to_markdown(text) == f"{text}\n"


def test_quotations_are_quotations_where_they_are_wanted() -> None:
    text = "Yes.\n> Will you come?\n> > On Monday.\n>\n> a   b\nAda"
    assert plain_to_markdown(text, quotes=True) == (
        "Yes.\n\n> Will you come?\n>\n> > On Monday.\n>\n> ```text\n> a   b\n> ```\n\nAda\n"
    )


def test_nothing_of_nothing() -> None:
    assert plain_to_markdown("\n \n\t\n") == ""
