"""OpenDocument texts and presentations: what the program shows is what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blocks.errors import EncryptedDocument
from tests.unit import conversion_samples as samples

_NAMES = {
    **{
        prefix: f"urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"
        for prefix, name in (
            *(("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"), ("style", "style")),
            *(("fo", "xsl-fo-compatible"), ("svg", "svg-compatible"), ("presentation", "presentation")),
            *(("manifest", "manifest"), ("chart", "chart")),
        )
    },
    "dc": "http://purl.org/dc/elements/1.1/",
    "xlink": "http://www.w3.org/1999/xlink",
}
_XMLNS = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in _NAMES.items())


@pytest.fixture
def made(tmp_path: Path):
    """Return a function that writes a document of *body*, with automatic and common styles, and gives its path."""

    def write(body: str, automatic: str = "", styles: str = "", kind: str = "text", **parts: str) -> Path:
        content = (
            f"<office:document-content {_XMLNS}><office:automatic-styles>{automatic}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
        )
        members: dict[str, str | bytes] = {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": content,
            "META-INF/manifest.xml": f"<manifest:manifest {_XMLNS}/>",
            **({"styles.xml": f"<office:document-styles {_XMLNS}>{styles}</office:document-styles>"} if styles else {}),
            **parts,
        }
        return samples.package(tmp_path / ("a.odt" if kind == "text" else "a.odp"), members)

    return write


def body_of(path: Path, **options: Any) -> str:
    return samples.split(samples.convert(path, **options))[1]


def list_style(name: str, *levels: str) -> str:
    return f'<text:list-style style:name="{name}">{"".join(levels)}</text:list-style>'


def number(level: int, form: str = "1", suffix: str = ".", **attributes: str) -> str:
    further = " ".join(f'{name.replace("_", ":", 1).replace("_", "-")}="{value}"' for name, value in attributes.items())
    return (
        f'<text:list-level-style-number text:level="{level}" style:num-format="{form}" style:num-suffix="{suffix}" '
        f"{further}/>"
    )


def item(*contents: str, start: str = "") -> str:
    asked = f' text:start-value="{start}"' if start else ""
    paragraphs = (one if one.startswith("<") else f"<text:p>{one}</text:p>" for one in contents)
    return f"<text:list-item{asked}>{''.join(paragraphs)}</text:list-item>"


def test_numbers_of_lists_are_those_that_are_shown(made):
    style = list_style("L", number(1), number(2, "a", ")"))
    nested = f"<text:list>{item('slowly')}{item('gently')}</text:list>"
    body = (
        f'<text:list text:style-name="L">{item("Lift", nested, start="4")}{item("Ring")}</text:list>'
        "<text:p>Between</text:p>"
        f'<text:list text:style-name="L" text:continue-numbering="true">{item("Go")}</text:list>'
        f'<text:list text:style-name="L">{item("Again")}</text:list>'
    )
    assert body_of(made(body, style)) == ("4. Lift\n\na) slowly\n\nb) gently\n\n5. Ring\n\nBetween\n\n6. Go\n1. Again")


def test_clauses_show_the_numbers_above_them(made):
    style = list_style("C", number(1), number(2, text_display_levels="2", suffix=""))
    nested = f"<text:list>{item('Fares')}{item('Refunds')}</text:list>"
    body = f'<text:list text:style-name="C">{item("Scope")}{item("Money", nested)}</text:list>'
    assert body_of(made(body, style)) == "1. Scope\n2. Money\n\n2.1 Fares\n\n2.2 Refunds"


def test_headings_have_the_numbers_of_the_outline(made):
    outline = "".join(
        f'<text:outline-level-style text:level="{level}" style:num-format="1" text:display-levels="{level}"/>'
        for level in (1, 2)
    )
    styles = f"<office:styles><text:outline-style>{outline}</text:outline-style></office:styles>"
    headings = (
        '<text:h text:outline-level="1">Scope</text:h><text:h text:outline-level="1" text:is-list-header="true">Aside'
        '</text:h><text:h text:outline-level="1">Rack</text:h><text:h text:outline-level="2">Rack bar</text:h>'
    )
    assert body_of(made(headings, styles=styles)) == "# 1 Scope\n\n# Aside\n\n# 2 Rack\n\n## 2.1 Rack bar"


def test_notes_lead_to_their_own_text(made):
    body = (
        '<text:p>Long.<text:note text:id="f2" text:note-class="footnote"><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>Measured.</text:p><text:p>Twice.</text:p></text:note-body></text:note> Dug."
        '<text:note text:id="e1" text:note-class="endnote"><text:note-body><text:p>Diary.</text:p></text:note-body>'
        "</text:note></text:p>"
    )
    assert body_of(made(body)) == "Long.[^1] Dug.[^e1]\n\n[^1]: Measured.\n\n    Twice.\n\n[^e1]: Diary."


def test_a_comment_stands_after_the_words_that_it_is_about(made):
    body = (
        '<text:p>The <office:annotation office:name="7"><dc:creator>Ilse Marn</dc:creator><text:p>Which?</text:p>'
        '</office:annotation>third bridge<office:annotation-end office:name="7"/> is closed.</text:p>'
    )
    assert body_of(made(body)) == "The third bridge[^c1] is closed.\n\n[^c1]: Comment by Ilse Marn: Which?"


def test_white_space_is_that_of_the_format(made):
    body = "<text:p>  a \n b<text:span> </text:span> c<text:s text:c='2'/>d<text:tab/>e<text:line-break/>f</text:p>"
    assert body_of(made(body)) == "a b c  d\te\\\nf"


def test_formats_come_from_styles_and_their_parents(made):
    styles = (
        '<office:styles><style:style style:name="Strong" style:family="text"><style:text-properties '
        'fo:font-weight="bold"/></style:style></office:styles>'
    )
    automatic = (
        '<style:style style:name="T1" style:family="text" style:parent-style-name="Strong"><style:text-properties '
        'fo:font-style="italic"/></style:style><style:style style:name="T2" style:family="text"><style:text-properties '
        'style:text-position="super 58%"/></style:style><style:style style:name="T3" style:family="text">'
        '<style:text-properties style:text-position="-33% 58%"/></style:style><style:style style:name="T4" '
        'style:family="text"><style:text-properties style:text-line-through-style="solid"/></style:style>'
    )
    body = (
        '<text:p><text:span text:style-name="T1">loud</text:span> 10<text:span text:style-name="T2">3</text:span> H'
        '<text:span text:style-name="T3">2</text:span>O <text:span text:style-name="T4">old</text:span></text:p>'
    )
    assert body_of(made(body, automatic, styles)) == "***loud*** 10^3^ H~2~O ~~old~~"


def test_signs_of_symbol_fonts(made):
    automatic = (
        '<style:style style:name="W" style:family="text"><style:text-properties style:font-name="W1"/></style:style>'
    )
    path = made(
        '<text:p><text:span text:style-name="W">\uf0fe</text:span> agreed</text:p>',
        automatic,
        "<office:font-face-decls><style:font-face style:name='W1' svg:font-family='Wingdings'/>"
        "</office:font-face-decls>",
    )
    assert body_of(path) == "☑ agreed"


def test_hidden_text_is_left_out_and_counted(made):
    automatic = (
        '<style:style style:name="H" style:family="text"><style:text-properties text:display="none"/></style:style>'
    )
    body = (
        '<text:p>Open<text:span text:style-name="H"> draft remark</text:span> daily.</text:p>'
        '<text:section text:name="s" text:display="none"><text:p>Hidden section.</text:p></text:section>'
    )
    output = samples.convert(made(body, automatic))
    assert samples.split(output)[1] == "Open daily."
    assert output.warnings == ("2 hidden passages left out",)


def test_deleted_text_is_left_out(made):
    body = (
        '<text:tracked-changes><text:changed-region text:id="c"><text:deletion><text:p>nineteen</text:p>'
        "</text:deletion></text:changed-region></text:tracked-changes>"
        '<text:p>The fare is <text:change text:change-id="c"/>24.</text:p>'
    )
    assert body_of(made(body)) == "The fare is 24."


def test_tables_with_spans_repeats_and_a_table_inside(made):
    inner = "".join(
        f"<table:table-row>{''.join(f'<table:table-cell><text:p>{text}</text:p></table:table-cell>' for text in row)}"
        "</table:table-row>"
        for row in (("Car", "Built"), ("31", "1954"))
    )
    body = (
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>Station</text:p>"
        "</table:table-cell><table:table-cell><text:p>Cars</text:p></table:table-cell></table:table-row>"
        '</table:table-header-rows><table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>Lower'
        f"</text:p></table:table-cell><table:table-cell><table:table>{inner}</table:table></table:table-cell>"
        "</table:table-row><table:table-row><table:covered-table-cell/><table:table-cell><text:p>none</text:p>"
        "<text:p>today</text:p></table:table-cell></table:table-row></table:table>"
    )
    assert body_of(made(body)) == (
        "| Station | Cars |\n| --- | --- |\n| Lower | Car: 31; Built: 1954 |\n| Lower | none<br>today |"
    )


def test_repeated_rows_are_bounded(made):
    cell = "<table:table-cell><text:p>x</text:p></table:table-cell>"
    empty = '<table:table-row table:number-rows-repeated="1048576"><table:table-cell/></table:table-row>'
    filled = f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>'
    assert body_of(made(f"<table:table>{filled}{empty}</table:table>")).count("| x |") == 1000


def test_what_is_anchored_in_a_paragraph_follows_it_once(made):
    body = (
        "<text:p>Box: <draw:frame><draw:text-box><text:p>The bridge</text:p><text:p>is closed.</text:p></draw:text-box>"
        "</draw:frame>here.</text:p><text:p><draw:custom-shape><text:p>Shape</text:p></draw:custom-shape></text:p>"
    )
    assert body_of(made(body)) == "Box: here.\n\nThe bridge\n\nis closed.\n\nShape"


def test_pictures_and_objects(made):
    body = (
        '<text:p><draw:frame><draw:image xlink:href="p.png"/><svg:desc>The summit in 1912</svg:desc></draw:frame>'
        '<draw:frame><draw:image xlink:href="q.png"/></draw:frame><draw:frame><draw:object-ole xlink:href="o"/>'
        '<draw:image xlink:href="r.png"/></draw:frame></text:p>'
    )
    output = samples.convert(made(body))
    assert samples.split(output)[1] == "The summit in 1912"
    assert output.warnings == ("1 image without description", "1 embedded object left out")


def test_a_chart_is_the_table_of_its_values(made):
    rows = "".join(
        f"<table:table-row>{''.join(f'<table:table-cell><text:p>{text}</text:p></table:table-cell>' for text in row)}"
        "</table:table-row>"
        for row in (("", "Valley"), ("Spring", "1250"), ("Summer", "NaN"))
    )
    chart = (
        f"<office:document-content {_XMLNS}><office:body><office:chart><chart:chart><chart:title>"
        f"<text:p>Riders</text:p></chart:title><table:table>{rows}</table:table></chart:chart></office:chart></office:body>"
        "</office:document-content>"
    )
    body = '<text:p>See <draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p>'
    path = made(body, **{"Object 1/content.xml": chart})
    assert body_of(path) == "See\n\n**Riders**\n\n|  | Valley |\n| --- | --- |\n| Spring | 1250 |\n| Summer |  |"


def test_a_formula_stands_in_its_sentence(made):
    math = '<math xmlns="http://www.w3.org/1998/Math/MathML"><mfrac><mi>a</mi><mn>2</mn></mfrac></math>'
    path = made(
        '<text:p>With <draw:frame><draw:object xlink:href="./Object 1"/></draw:frame> as the mean load.</text:p>',
        **{"Object 1/content.xml": math},
    )
    assert body_of(path) == "With $\\frac{a}{2}$ as the mean load."
    alone = made(
        '<text:p><draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p><text:p>Text</text:p>',
        **{"Object 1/content.xml": math},
    )
    assert body_of(alone) == "$$\\frac{a}{2}$$\n\nText"


def test_heads_and_feet_stand_once(made):
    styles = (
        '<office:master-styles><style:master-page style:name="Standard"><style:header><text:p>Register 8842-K</text:p>'
        "</style:header><style:footer><text:p>Page <text:page-number>1</text:page-number> of <text:page-count>3"
        '</text:page-count></text:p><text:p>Approved</text:p></style:footer><style:footer-left style:display="false">'
        '<text:p>off</text:p></style:footer-left></style:master-page><style:master-page style:name="Unused">'
        "<style:header><text:p>never</text:p></style:header></style:master-page></office:master-styles>"
    )
    assert body_of(made("<text:p>Text</text:p>", styles=styles)) == "Register 8842-K\n\nText\n\nApproved"


def test_an_encrypted_document_says_so(made):
    manifest = (
        f'<manifest:manifest {_XMLNS}><manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/>'
        "</manifest:file-entry></manifest:manifest>"
    )
    with pytest.raises(EncryptedDocument, match="password"):
        samples.convert(made("<text:p>x</text:p>", **{"META-INF/manifest.xml": manifest}))


def test_damaged_styles_do_not_fail_a_document(made):
    path = made("<text:p text:style-name='P1'>Text</text:p>", **{"styles.xml": "<broken"})
    assert body_of(path) == "Text"


def frame(text: str, x: int, y: int, kind: str = "") -> str:
    said = f' presentation:class="{kind}"' if kind else ""
    return (
        f'<draw:frame svg:x="{x}cm" svg:y="{y}cm" svg:width="3cm" svg:height="1cm"{said}><draw:text-box>'
        f"<text:p>{text}</text:p></draw:text-box></draw:frame>"
    )


def test_slides(made):
    notes = (
        '<presentation:notes><draw:page-thumbnail/><draw:frame presentation:class="notes"><draw:text-box>'
        "<text:p>Say this.</text:p></draw:text-box></draw:frame></presentation:notes>"
    )
    comment = "<office:annotation><dc:creator>Ilse Marn</dc:creator><text:p>Really?</text:p></office:annotation>"
    pages = (
        f"<draw:page>{frame('Third', 1, 9)}{frame('Second', 6, 3)}{frame('First', 1, 3)}"
        f"{frame('The slide', 1, 1, 'title')}{comment}{notes}</draw:page>"
        f"<draw:page draw:style-name='dp'>{frame('Gone', 1, 1, 'title')}{frame('7', 9, 9, 'page-number')}</draw:page>"
    )
    automatic = (
        '<style:style style:name="dp" style:family="drawing-page"><style:drawing-page-properties '
        'presentation:visibility="hidden"/></style:style>'
    )
    path = made(pages, automatic, kind="presentation")
    output = samples.convert(path)
    header, body = samples.split(output)
    assert header["pages"] == 2
    assert body == (
        "## The slide\n\nFirst\n\nSecond\n\nThird\n\n**Speaker notes:**\n\nSay this.\n\n"
        "**Comments:**\n\n- Ilse Marn: Really?\n\n## Gone (hidden)"
    )
    assert output.warnings == ("1 hidden slide",)
    assert "Say this" not in body_of(path, include_speaker_notes=False)
