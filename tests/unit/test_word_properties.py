"""What a Word document says is what comes out: every sign of every paragraph and cell, in order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from xml.sax.saxutils import escape as xml_escape

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from blocks.filetype import TYPES
from tasks.conversion.word.reader import read_word
from tests.corpus.word_package import in_list, levels, write_word

SIGNS = "abcXYZ019 éß漢.,:;!?-+*_`~^#>|<&[](){}=\\/$%\"'–“”\t"
TEXT = st.text(alphabet=SIGNS, min_size=1, max_size=12)
LOOKS = st.lists(st.sampled_from(["<w:b/>", "<w:i/>", "<w:strike/>"]), max_size=2, unique=True)
PARAGRAPH = st.lists(st.tuples(TEXT, LOOKS), min_size=1, max_size=4)
DOCUMENT = st.lists(
    st.one_of(
        st.tuples(st.just("paragraph"), PARAGRAPH),
        st.tuples(st.just("item"), TEXT),
        st.tuples(st.just("table"), st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=2, max_size=3)),
    ),
    min_size=1,
    max_size=5,
)
PARSER = MarkdownIt("commonmark").enable(["strikethrough", "table"])


def run(text: str, looks: list[str]) -> str:
    return f'<w:r><w:rPr>{"".join(looks)}</w:rPr><w:t xml:space="preserve">{xml_escape(text)}</w:t></w:r>'


def plain(text: str) -> str:
    return f"<w:p>{run(text, [])}</w:p>"


def signs(text: str) -> str:
    return "".join(text.split())


def written(blocks: list[tuple[str, object]]) -> tuple[str, str]:
    """Return the body of a document of *blocks*, and the text that it shows without its white space."""
    body, shown = "", ""
    for kind, content in blocks:
        if kind == "paragraph":
            body += f"<w:p>{''.join(run(text, looks) for text, looks in content)}</w:p>"  # type: ignore[attr-defined]
            shown += "".join(text for text, _ in content)  # type: ignore[attr-defined]
        elif kind == "item":
            text = f"x{content}"
            body += in_list(xml_escape(text))
            shown += text
        else:
            rows = "".join(
                f"<w:tr>{''.join(f'<w:tc>{plain(cell)}</w:tc>' for cell in row)}</w:tr>"
                for row in content  # type: ignore[attr-defined]
            )
            body += f"<w:tbl>{rows}</w:tbl>"
            shown += "".join(cell for row in content for cell in row)  # type: ignore[attr-defined]
    return body, signs(shown)


@settings(max_examples=150, deadline=None)
@given(DOCUMENT)
def test_every_sign_comes_out_in_its_order(blocks: list[tuple[str, object]]) -> None:
    body, shown = written(blocks)
    with tempfile.TemporaryDirectory() as folder:
        path = write_word(Path(folder) / "a.docx", body, {"numbering": levels("bullet -")})
        markdown = read_word(path, TYPES["docx"], "a.docx").body
    inline = (token for token in PARSER.parse(markdown) if token.type == "inline")
    leaves = (leaf for token in inline for leaf in token.children or ())
    read = "".join(leaf.content for leaf in leaves if leaf.type in ("text", "code_inline", "html_inline"))
    assert signs(read.replace("<br>", "")) == shown, markdown
