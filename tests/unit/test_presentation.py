"""Presentations: what the program shows on a slide is what is read, in the order of reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pptx import Presentation
from pptx.util import Inches

from tests.unit import conversion_samples as samples

_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_P = "http://schemas.openxmlformats.org/presentationml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TITLE_ONLY, _WITH_BODY, _BLANK = 5, 1, 6

Change = Callable[[Any], None]


@pytest.fixture
def deck(tmp_path: Path):
    """Return a function that writes a presentation of one slide, changed by *change*, and gives its path."""

    def write(change: Change, layout: int = _TITLE_ONLY, parts: dict[str, str] | None = None) -> Path:
        presentation = Presentation()
        slide = presentation.slides.add_slide(presentation.slide_layouts[layout])
        if slide.shapes.title is not None:
            slide.shapes.title.text = "The slide"
        change(slide)
        plain, path = tmp_path / "plain.pptx", tmp_path / "a.pptx"
        presentation.save(str(plain))
        return samples.package(path, samples.members(plain) | (parts or {}))

    return write


def body_of(path: Path, **options: Any) -> str:
    return samples.split(samples.convert(path, **options))[1]


def text_box(slide: Any, *paragraphs: str, left: float = 1, top: float = 2) -> None:
    """Add a text box whose paragraphs are the XML *paragraphs* (``a:p``)."""
    box = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(3), Inches(1))
    frame = box._element.txBody
    for old in frame.findall(f"{{{_A}}}p"):
        frame.remove(old)
    for paragraph in paragraphs:
        frame.append(etree.fromstring(f'<a:p xmlns:a="{_A}" xmlns:r="{_R}">{paragraph}</a:p>'))


def numbered(scheme: str, text: str, level: int = 0, start: int = 1) -> str:
    return f'<a:pPr lvl="{level}"><a:buAutoNum type="{scheme}" startAt="{start}"/></a:pPr><a:r><a:t>{text}</a:t></a:r>'


def test_bullets_are_those_of_the_master(deck):
    def change(slide: Any) -> None:
        frame = slide.placeholders[1].text_frame
        frame.text = "Open the valve"
        frame.add_paragraph().text = "slowly"
        frame.paragraphs[1].level = 1

    assert body_of(deck(change, _WITH_BODY)) == "## The slide\n\n- Open the valve\n  - slowly"


def test_a_paragraph_can_refuse_its_bullet(deck):
    def change(slide: Any) -> None:
        frame = slide.placeholders[1].text_frame
        frame.text = "Note"
        frame.paragraphs[0]._p.get_or_add_pPr().append(etree.fromstring(f'<a:buNone xmlns:a="{_A}"/>'))

    assert body_of(deck(change, _WITH_BODY)) == "## The slide\n\nNote"


def test_automatic_numbers_are_those_that_are_shown(deck):
    paragraphs = (
        numbered("arabicPeriod", "Lift", start=4),
        numbered("alphaLcParenR", "slowly", level=1),
        numbered("alphaLcParenR", "gently", level=1),
        numbered("arabicPeriod", "Ring", start=4),
        "<a:r><a:t>Between</a:t></a:r>",
        numbered("arabicPeriod", "Again", start=4),
        numbered("romanUcParenBoth", "Two", start=2),
    )
    body = body_of(deck(lambda slide: text_box(slide, *paragraphs)))
    expected = "4. Lift\n\na) slowly\n\nb) gently\n\n5. Ring\n\nBetween\n\n4. Again\n\n(II) Two"
    assert body == f"## The slide\n\n{expected}"


def test_formats_links_and_line_breaks(deck):
    def change(slide: Any) -> None:
        link = slide.part.relate_to("https://example.org/rules", f"{_R}/hyperlink", is_external=True)
        text_box(
            slide,
            '<a:r><a:rPr b="1"/><a:t>Load</a:t></a:r><a:r><a:t> 10</a:t></a:r><a:r><a:rPr baseline="30000"/>'
            '<a:t>3</a:t></a:r><a:r><a:t> N of H</a:t></a:r><a:r><a:rPr baseline="-25000"/><a:t>2</a:t></a:r>'
            "<a:r><a:t>O</a:t></a:r>",
            f'<a:r><a:t>see</a:t></a:r><a:br/><a:r><a:rPr><a:hlinkClick r:id="{link}"/></a:rPr><a:t>rules</a:t></a:r>',
        )

    body = body_of(deck(change))
    assert body.endswith("**Load** 10^3^ N of H~2~O\n\nsee\\\n[rules](https://example.org/rules)")


def test_text_means_itself(deck):
    body = body_of(deck(lambda slide: text_box(slide, "<a:r><a:t>+ 3 % of *all* cars</a:t></a:r>")))
    assert body.endswith("\\+ 3 % of \\*all\\* cars")


def test_formulas_and_signs_of_symbol_fonts(deck):
    math = (
        '<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:f><m:num><m:r><m:t>a</m:t></m:r>'
        "</m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath>"
    )
    in_sentence = f'<a:r><a:t>load </a:t></a:r><x:m xmlns:x="urn:a14">{math}</x:m><a:r><a:t> N</a:t></a:r>'
    alone = f'<x:m xmlns:x="urn:a14">{math}</x:m>'
    sign = '<a:r><a:rPr><a:sym typeface="Symbol"/></a:rPr><a:t>\uf0b1</a:t></a:r><a:r><a:t>3 mm</a:t></a:r>'
    body = body_of(deck(lambda slide: text_box(slide, in_sentence, alone, sign)))
    assert body.endswith("load $\\frac{a}{2}$ N\n\n$$\\frac{a}{2}$$\n\n±3 mm")


def test_merged_cells_of_a_table(deck):
    def change(slide: Any) -> None:
        table = slide.shapes.add_table(3, 2, 0, Inches(2), Inches(4), Inches(2)).table
        for index, text in enumerate(("Station", "Train", "Lower", "09:15", "", "10:20")):
            table.cell(index // 2, index % 2).text = text
        table.cell(1, 0).merge(table.cell(2, 0))

    assert body_of(deck(change)).endswith("| Station | Train |\n| --- | --- |\n| Lower | 09:15 |\n| Lower | 10:20 |")


def test_feet_stand_once_at_the_end(tmp_path: Path):
    presentation = Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[_TITLE_ONLY])
        slide.shapes.title.text = f"Slide {number}"
        foot = etree.fromstring(
            f'<p:sp xmlns:p="{_P}" xmlns:a="{_A}"><p:nvSpPr><p:cNvPr id="9" name="f"/><p:cNvSpPr/><p:nvPr>'
            '<p:ph type="ftr" idx="11"/></p:nvPr></p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/><a:p><a:r>'
            "<a:t>Register 8842-K</a:t></a:r></a:p></p:txBody></p:sp>"
        )
        slide.shapes._spTree.append(foot)
    presentation.save(str(tmp_path / "a.pptx"))
    assert body_of(tmp_path / "a.pptx") == "## Slide 1\n\n## Slide 2\n\nRegister 8842-K"


def test_a_hidden_slide_is_marked_and_counted(deck):
    path = deck(lambda slide: slide._element.set("show", "0"))
    output = samples.convert(path)
    assert samples.split(output)[1] == "## The slide (hidden)"
    assert output.warnings == ("1 hidden slide",)


def test_a_hidden_shape_is_left_out_and_counted(deck):
    def change(slide: Any) -> None:
        text_box(slide, "<a:r><a:t>draft remark</a:t></a:r>")
        slide.shapes[-1]._element.nvSpPr.cNvPr.set("hidden", "1")

    output = samples.convert(deck(change))
    assert "draft" not in samples.split(output)[1]
    assert output.warnings == ("1 hidden passage left out",)


def test_pictures_say_what_their_description_says(deck, tmp_path: Path):
    picture = tmp_path / "a.png"
    picture.write_bytes(samples.image("png"))

    def change(slide: Any) -> None:
        for number, text in enumerate(("The summit station in 1912", "Picture 3", "")):
            shape = slide.shapes.add_picture(str(picture), 0, Inches(2 + number))
            shape._element.nvPicPr.cNvPr.set("descr", text)

    output = samples.convert(deck(change))
    assert samples.split(output)[1] == "## The slide\n\nThe summit station in 1912"
    assert output.warnings == ("2 images without description",)


def test_a_diagram_is_a_list_in_the_order_of_its_tree(deck):
    data = (
        f'<dgm:dataModel xmlns:dgm="urn:dgm" xmlns:a="{_A}"><dgm:ptLst><dgm:pt modelId="d" type="doc"/>'
        + "".join(
            f'<dgm:pt modelId="{key}"><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>'
            for key, text in (("2", "Sign"), ("1", "Weigh"), ("3", "on the scale"))
        )
        + '</dgm:ptLst><dgm:cxnLst><dgm:cxn srcId="d" destId="1" srcOrd="0"/><dgm:cxn srcId="d" destId="2" srcOrd="1"/>'
        '<dgm:cxn srcId="1" destId="3" srcOrd="0"/><dgm:cxn srcId="3" destId="1" srcOrd="0"/></dgm:cxnLst>'
        "</dgm:dataModel>"
    )

    def change(slide: Any) -> None:
        frame = (
            f'<p:graphicFrame xmlns:p="{_P}" xmlns:a="{_A}" xmlns:r="{_R}" xmlns:dgm="urn:dgm"><p:nvGraphicFramePr>'
            '<p:cNvPr id="9" name="d"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr><a:graphic><a:graphicData '
            'uri="urn:dgm"><dgm:relIds r:dm="rId77"/></a:graphicData></a:graphic></p:graphicFrame>'
        )
        slide.shapes._spTree.append(etree.fromstring(frame))

    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId77" Type="{_R}/diagramData" Target="../diagrams/data1.xml"/></Relationships>'
    )
    parts = {"ppt/diagrams/data1.xml": data, "ppt/slides/_rels/slide1.xml.rels": relations}
    assert body_of(deck(change, parts=parts)) == "## The slide\n\n- Weigh\n  - on the scale\n- Sign"


def test_comments_stand_with_their_slide_and_their_author(deck):
    comment = f'<p:cmLst xmlns:p="{_P}"><p:cm authorId="0" idx="1"><p:text>Ask the guard.</p:text></p:cm></p:cmLst>'
    thread = (
        f'<t:cmLst xmlns:t="urn:t" xmlns:a="{_A}"><t:cm authorId="{{7}}"><t:replyLst><t:reply authorId="{{7}}">'
        "<t:txBody><a:p><a:r><a:t>Done.</a:t></a:r></a:p></t:txBody></t:reply></t:replyLst>"
        "<t:txBody><a:p><a:r><a:t>Weigh it"
        "</a:t></a:r></a:p></t:txBody></t:cm></t:cmLst>"
    )
    relations = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
    on_slide = (
        f'<Relationship Id="rId1" Type="{_R}/comments" Target="../comments/comment1.xml"/>'
        '<Relationship Id="rId2" Type="urn:office/2018/relationships/comments" Target="../comments/modern.xml"/>'
    )
    path = deck(
        lambda _slide: None,
        parts={
            "ppt/comments/comment1.xml": comment,
            "ppt/comments/modern.xml": thread,
            "ppt/slides/_rels/slide1.xml.rels": relations.format(on_slide),
            "ppt/commentAuthors.xml": f'<a xmlns="{_P}"><cmAuthor id="0" name="Ilse Marn"/></a>',
        },
    )
    members = samples.members(path)
    authors = f'<Relationship Id="rId99" Type="{_R}/commentAuthors" Target="commentAuthors.xml"/></Relationships>'
    relations_part = "ppt/_rels/presentation.xml.rels"
    members[relations_part] = members[relations_part].replace(b"</Relationships>", authors.encode())
    body = body_of(samples.package(path.with_name("b.pptx"), members))
    assert body == "## The slide\n\n**Comments:**\n\n- Ilse Marn: Ask the guard.\n- Weigh it\n- Done."


def test_a_damaged_slide_does_not_fail_the_others(tmp_path: Path):
    original = samples.pptx(tmp_path / "a.pptx", [("First", "Body A", ""), ("Second", "Body B", "")])
    damaged = samples.members(original) | {"ppt/slides/slide1.xml": "<broken"}
    output = samples.convert(samples.package(tmp_path / "b.pptx", damaged))
    assert samples.split(output)[1] == "## Second\n\n- Body B"
    assert "1 part of the file that could not be read" in output.warnings


def test_a_damaged_layout_does_no_harm(tmp_path: Path):
    original = samples.pptx(tmp_path / "a.pptx", [("First", "Body A", "")])
    damaged = samples.members(original) | {"ppt/slideLayouts/slideLayout2.xml": "<broken"}
    assert body_of(samples.package(tmp_path / "b.pptx", damaged)) == "## First\n\n- Body A"
