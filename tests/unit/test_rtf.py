"""RTF documents: what the program shows is what is read."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from blocks.errors import UnreadableDocument, WaybillError
from tests.unit import conversion_samples as samples

_HEAD = (
    r"{\rtf1\ansi\ansicpg1252\deff0\uc1{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial Cyr;}{\f2\fcharset2 Symbol;}"
    r"{\f3\fcharset2 Wingdings;}}"
)


@pytest.fixture
def made(tmp_path: Path):
    def write(text: str, head: str = "") -> Path:
        return samples.write(tmp_path / "a.rtf", f"{_HEAD}{head}\n{text}}}".encode("latin-1"))

    return write


def body_of(path: Path) -> str:
    return samples.split(samples.convert(path))[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"10{\super 3} N, 10\super 6\nosupersub  l, H{\sub 2}O, x\up6 2\up0  y", "10^3^ N, 10^6^ l, H~2~O, x^2^ y"),
        (r"{\b bold}, {\i slanted}, {\strike old}", "**bold**, *slanted*, ~~old~~"),
        (r"caf\'e9 5\u8364 ? Caf\u233\'e9 \u26481 ?\u20140 ?", "café 5€ Café 東京"),
        (r"\u-10179?\u-8704? x", "😀 x"),
        (r"{\uc2 \u8364 ??}5 {\uc0 \u8364 }6", "€5 €6"),
        (r"{\f1 \'c2\'e0\'e3\'ee\'ed}", "Вагон"),
        (r"{\f2 \'b1} 3 mm {\f3 \'fd}", "± 3 mm ☒"),
        (r"5\~000 euro, self\_made, soft\-hyphen", "5\u00a0000 euro, self\u2011made, softhyphen"),
        (r"a\emdash b\line c\tab d", "a—b\\\nc\td"),
        (r"+ 3 % of *all*", "\\+ 3 % of \\*all\\*"),
        (r"Open{\v  hidden} daily{\deleted  struck}{\revised  added}.", "Open daily added."),
        (r"{\upr{Stra?e}{\*\ud{Stra\u223 ?e}}}", "Straße"),
        (r"{\*\unheardof text of its own}Text", "Text"),
        (r"a{\pict\pngblip 89504e47}b", "ab"),
    ],
)
def test_text(made, text: str, expected: str):
    assert body_of(made(rf"\pard {text}\par")) == expected


def test_labels_of_lists_are_those_in_the_file(made):
    text = (
        r"\pard{\listtext\pard\plain\f0 4.\tab}\ls1\ilvl0 Lift\par"
        r"\pard{\listtext\f3 \'d8\tab}\ls1\ilvl1 slowly\par"
        r"\pard{\listtext 5.\tab}\ls1\ilvl0 Ring\par"
        r"\pard{\listtext\f2 \'b7\tab}\ls2\ilvl0 sign\par"
        r"\pard{\listtext 1.2\tab}Clause\par"
        r"\pard{\pntext (a)\tab}{\*\pn\pnlvlbody{\pntxtb (}{\pntxta )}}Part\par"
    )
    assert body_of(made(text)) == "4. Lift\n   - slowly\n5. Ring\n- sign\n\n1.2 Clause\n\n(a) Part"


def test_headings_by_style_and_by_outline_level(made):
    head = r"{\stylesheet{\ql Normal;}{\s1\b heading 1;}{\s2\outlinelevel1 Eigene;}{\*\cs3 heading 2;}{\s4 Title;}}"
    text = r"\pard\s4 Rules\par\pard\s1{\b Fares}\par\pard\s2 Children\par\pard\outlinelevel2 Dogs\par\pard\s0 Text\par"
    assert body_of(made(text, head)) == "# Rules\n\n# Fares\n\n## Children\n\n### Dogs\n\nText"


def test_notes_lead_to_their_own_text(made):
    text = (
        r"Long.{\super\chftn}{\footnote\pard {\super\chftn} Measured.\par Twice.} Dug.{\super\chftn}"
        r"{\footnote\ftnalt {\super\chftn} Diary.} The bridge{\*\atnid IM}{\*\atnauthor Ilse Marn}\chatn"
        r"{\*\annotation{\*\atnref 1}{\*\atndate 5}\pard Which?} is closed.\par"
    )
    assert body_of(made(text)) == (
        "Long.[^1] Dug.[^e1] The bridge[^c1] is closed.\n\n"
        "[^1]: Measured.\n\n    Twice.\n\n[^e1]: Diary.\n\n[^c1]: Comment by Ilse Marn: Which?"
    )


def row(*cells: str, definition: str = "") -> str:
    shapes = definition or "".join(rf"\cellx{1000 * (number + 1)}" for number in range(len(cells)))
    contents = "".join(cell + r"\cell " for cell in cells)
    return rf"\trowd{shapes}\pard\intbl {contents}\row" + "\n"


def test_tables(made):
    merged = r"\clvmgf\cellx1000\cellx2000"
    text = (
        row("Station", "Train")
        + row("Lower", r"09:15\par late", definition=merged)
        + row("", "10:20", definition=r"\clvmrg\cellx1000\cellx2000")
        + row("closed", "", definition=r"\clmgf\cellx1000\clmrg\cellx2000")
        + r"\pard After\par"
    )
    assert body_of(made(text)) == (
        "| Station | Train |\n| --- | --- |\n| Lower | 09:15<br>late |\n| Lower | 10:20 |\n| closed |  |\n\nAfter"
    )


def test_a_wide_cell_covers_the_columns_that_other_rows_have_there(made):
    text = (
        row("Pier", "Depth", definition=r"\cellx1000\cellx3000")
        + row("A", "3.2 m", "+ 3 %", definition=r"\clvmgf\cellx1000\cellx2000\cellx3000")
        + row("", "closed", definition=r"\clvmrg\cellx1000\cellx3000")
        + r"\pard After\par"
    )
    assert body_of(made(text)) == (
        "| Pier | Depth | Depth |\n| --- | --- | --- |\n| A | 3.2 m | + 3 % |\n| A | closed |  |\n\nAfter"
    )


def test_rows_with_other_edges_are_read_cell_by_cell(made):
    text = (
        row("a", "b", definition=r"\cellx1500\cellx3000")
        + row("1", "2", "3", definition=r"\cellx1000\cellx2000\cellx3000")
        + r"\pard After\par"
    )
    assert body_of(made(text)) == "| a | b |  |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n\nAfter"


def test_a_table_in_a_cell(made):
    nested = "".join(
        rf"\pard\intbl\itap2 {first}\nestcell {second}\nestcell{{\*\nesttableprops\trowd\cellx500\cellx900\nestrow}}"
        rf"{{\nonesttables\par}}"
        for first, second in (("Car", "Built"), ("31", "1954"))
    )
    text = (
        rf"{row('Station', 'Cars')}\trowd\cellx1000\cellx2000\pard\intbl Lower\cell {nested}\pard\intbl\cell\row\pard"
    )
    assert body_of(made(text)) == "| Station | Cars |\n| --- | --- |\n| Lower | Car: 31; Built: 1954 |"


def test_fields_links_and_boxes(made):
    text = (
        r'\pard{\field{\*\fldinst{HYPERLINK "https://example.org/a"}}{\fldrslt the club}} and '
        r'{\field{\*\fldinst HYPERLINK \\l "place"}{\fldrslt a place}} on page '
        r"{\field{\*\fldinst PAGEREF x}{\fldrslt 7}}\par"
        r"{\field{\*\fldinst FORMCHECKBOX {\*\formfield{\fftype1\ffres1{\*\ffname c}}}}{\fldrslt}} Agreed\par"
    )
    assert body_of(made(text)) == "[the club](https://example.org/a) and a place on page 7\n\n☒ Agreed"


def test_formulas_stand_in_their_sentence(made):
    fraction = r"{\mf{\mnum{\msSup{\me{\mr v}}{\msup{\mr 2}}}}{\mden{\mr 2}}}{\mmathPict{\pict 00}}"
    sentence = rf"\pard With {{\mmath{{\*\moMath{{\mr s}}{{\mr =}}{fraction}}}}} metres.\par"
    text = sentence + r"\pard{\mmath{\*\moMath{\mr a}}}\par"
    assert body_of(made(text)) == "With $s=\\frac{v^{2}}{2}$ metres.\n\n$$a$$"
    root = r"{\mmath{\*\moMath{\mrad{\mradPr{\mdegHide 1}}{\mdeg}{\me{\mr x}}}}}"
    assert body_of(made(rf"\pard is {root}\par")) == "is $\\sqrt{x}$"


def test_a_word_with_its_reading(made):
    field = r"{\field{\*\fldinst EQ \\* jc2 \\o\\ad(\\s\\up 9(toukyou),Tokyo)}{\fldrslt}}"
    assert body_of(made(rf"\pard {field} station\par")) == "Tokyo (toukyou) station"


def test_text_boxes_follow_their_paragraph(made):
    inside = r"{\*\shpinst{\sp{\sn shapeType}{\sv 202}}{\shptxt\pard The bridge\par is closed.\par}}"
    box = rf"{{\shp{inside}{{\shprslt{{\*\do x}}}}}}"
    assert body_of(made(rf"\pard Box:{box} here.\par")) == "Box: here.\n\nThe bridge\n\nis closed."


def test_heads_and_feet_stand_once(made):
    text = (
        r"{\header\pard Register 8842-K\par}{\headerf\pard Register 8842-K\par}"
        r"{\footer\pard Page \chpgn\par\pard Approved\par}\pard Text\par"
    )
    assert body_of(made(text)) == "Register 8842-K\n\nText\n\nApproved"


def test_properties(made):
    head = r"{\info{\title Keeper\'92s rules}{\author Ilse Marn}{\creatim\yr2024\mo3\dy9\hr12\min5}}"
    header, body = samples.split(samples.convert(made(r"\pard Text\par", head)))
    assert (header["title"], header["created"], body) == ("Keeper’s rules", "2024-03-09T12:05:00", "Text")


def test_what_is_left_out_is_counted(made):
    text = r"\pard a{\v b}{\pict 00}{\object{\*\objdata 00}{\result c}}{\mmath{\mmathPict{\pict 00}}}\par"
    assert samples.convert(made(text)).warnings == (
        "1 image without description",
        "1 embedded object left out",
        "1 formula that could not be read",
        "1 hidden passage left out",
    )


def test_a_file_that_was_cut_off_gives_what_is_there(tmp_path: Path):
    output = samples.convert(samples.write(tmp_path / "a.rtf", rb"{\rtf1\ansi One\par {\b two"))
    assert samples.split(output)[1] == "One\n\n**two**"
    assert output.warnings == ("the file ends early; text may be missing",)


def test_what_is_no_rtf(tmp_path: Path):
    from blocks.filetype import TYPES
    from tasks.conversion.rtf.reader import read_rtf

    with pytest.raises(UnreadableDocument, match="RTF"):
        read_rtf(samples.write(tmp_path / "a.rtf", b"{\\urtf nothing"), TYPES["rtf"], "a.rtf")


def test_damaged_files_give_text_or_our_error(tmp_path: Path, made):
    whole = made(
        row("a", "b") + r"\pard{\field{\*\fldinst X}{\fldrslt y}}{\footnote z}{\listtext 1.\tab}t\par"
    ).read_bytes()
    chance = random.Random(5)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 12])):
            data[chance.randrange(6, len(data))] = chance.choice(b"{}\\ab1 *'")
        try:
            samples.convert(samples.write(tmp_path / "b.rtf", bytes(data)))
        except WaybillError:
            continue


def test_binary_bytes_are_skipped(tmp_path: Path):
    data = rb"{\rtf1 a{\pict\bin5 " + b"}}}{{" + rb"}b\par}"
    assert body_of(samples.write(tmp_path / "a.rtf", data)) == "ab"
