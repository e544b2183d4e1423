"""Documents that are odd, damaged or made to take hours: read in proportion to their size, or an error of ours."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blocks.errors import TooLarge
from tasks.conversion.whole_numbers import whole_number
from tests.unit import conversion_samples as samples

ARTICLE = "\\documentclass{{article}}\n\\begin{{document}}\nWords.\n{}\n\\end{{document}}\n"
NESTED_FIELDS = 3_000

LARGE = {
    "bold.tex": ARTICLE.format("\\textbf{a} " * 40_000),
    "formulas.tex": ARTICLE.format("$a$ " * 40_000),
    "arguments.tex": ARTICLE.format("\\newcommand{\\a}[999999999]{#1}\n$\\a{b}$"),
    "notes.tex": ARTICLE.format("a\\footnote{b} " * 20_000),
    "spans.html": "<table>" + "<tr><td rowspan=60000>a<td>b" * 900 + "</table>",
}
ODD = {
    "title-without-end.tex": (ARTICLE.format("\\maketitle text \\author{A \\begin{quote} B}"), "Words."),
    "columns.tex": (ARTICLE.format("\\begin{tabular}{l}\\multicolumn{²}{l}{held} \\\\\\end{tabular}"), "held"),
    "rows.dbk": (
        '<article xmlns="http://docbook.org/ns/docbook"><title>T</title><informaltable><tgroup cols="1"><tbody><row>'
        '<entry morerows="①">held</entry></row></tbody></tgroup></informaltable></article>',
        "held",
    ),
    "blank-line-behind-plus.adoc": ("= Title\n\n. one\n+\n\nheld\n", "held"),
    "span-of-many-digits.adoc": (f"= Title\n\n|===\n|a |b\n{'9' * 5_000}+|held\n|===\n", "held"),
    "formula-in-formula.html": (
        '<p>held <span class="katex"><math><mi>x</mi></math><span class="katex"><math><mi>y</mi></math></span></span>',
        "held",
    ),
}


@pytest.mark.parametrize("name", list(LARGE))
def test_it_takes_time_in_proportion(tmp_path: Path, name: str) -> None:
    path = samples.write(tmp_path / name, LARGE[name])
    started = time.thread_time()
    samples.convert(path)
    assert time.thread_time() - started < 20


def test_fields_in_fields_take_time_in_proportion(tmp_path: Path) -> None:
    def fill(document: object) -> None:
        from docx.oxml import parse_xml
        from docx.oxml.ns import nsdecls

        begin, separate, end = (
            f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end")
        )
        one = f"{begin}<w:r><w:instrText> REF x </w:instrText></w:r>{separate}<w:r><w:t>t</w:t></w:r>"
        body = document.element.body  # type: ignore[attr-defined]
        body.insert(0, parse_xml(f"<w:p {nsdecls('w')}>{one * NESTED_FIELDS}{end * NESTED_FIELDS}</w:p>"))

    path = samples.docx(tmp_path / "a.docx", fill)
    started = time.thread_time()
    body = samples.split(samples.convert(path))[1]
    assert time.thread_time() - started < 5
    assert body == "t" * NESTED_FIELDS


@pytest.mark.parametrize("name", list(ODD))
def test_what_is_odd_does_not_fail_the_document(tmp_path: Path, name: str) -> None:
    content, held = ODD[name]
    assert held in samples.convert(samples.write(tmp_path / name, content)).content.decode()


def test_a_table_of_spans_is_bounded(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.html", "<table>" + "<tr><td rowspan=60000>a<td>b" * 6_000 + "</table>")
    with pytest.raises(TooLarge, match="1,000,000 places"):
        samples.convert(path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("12", 12), (" 7 ", 7), ("٣", 3), ("007", 7), ("", -1), (None, -1), ("²", -1), ("-3", -1), ("1_0", -1)),
        *(("9" * 5_000, 999_999_999), ("0" * 5_000, 0)),
    ],
)
def test_whole_numbers(text: str | None, number: int) -> None:
    assert whole_number(text, -1) == number
