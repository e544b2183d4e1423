"""Stage 1 on HTML pages and e-mail messages."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import NoText, UnreadableDocument
from tests.unit import conversion_samples as samples

PAGE = """<!DOCTYPE html><html lang="de"><head><title>Der Titel: &amp; mehr</title>
<meta property="article:published_time" content="2023-05-06T07:08:09Z"><style>x{}</style><script>alert(1)</script>
</head><body><header><h1>Überschrift</h1></header><nav>NAVIGATION</nav><main><p>Ein <b>Absatz</b> mit
<a href="http://example.invalid/a">Link</a>.</p><ul><li>eins<ul><li>zwei</li></ul></li></ul>
<table><tr><th>a</th><th>b</th></tr><tr><td>1|2</td><td>3</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="Bild"><p class="ad">WERBUNG</p></main><footer>FUSS</footer></body></html>"""


def converted(tmp_path: Path, page: str | bytes, name: str = "a.html", **options: Any) -> tuple[dict[str, Any], str]:
    return samples.split(samples.convert(samples.write(tmp_path / name, page), **options))


def test_a_page_keeps_its_text_and_loses_its_frame(tmp_path: Path) -> None:
    header, body = converted(tmp_path, PAGE)
    assert (header["title"], header["created"], header["language"]) == (
        "Der Titel: & mehr",
        "2023-05-06T07:08:09+00:00",
        "de",
    )
    assert body.startswith("# Überschrift")
    assert "[Link](http://example.invalid/a)" in body
    assert "| 1\\|2 | 3 |" in body
    assert not any(gone in body for gone in ("NAVIGATION", "FUSS", "alert", "base64", "x{}"))


def test_selectors_say_what_goes(tmp_path: Path) -> None:
    _, body = converted(tmp_path, PAGE, exclude_selectors=(".ad",))
    assert "WERBUNG" not in body
    assert "NAVIGATION" in body
    assert "alert" not in body


@pytest.mark.parametrize(
    ("declaration", "codec"),
    [
        ('<meta charset="iso-8859-1">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "cp1251"),
        ('<meta charset="windows-1251">', "utf-8"),
        ("", "utf-16"),
        ('<meta charset="no-such-charset">', "cp1252"),
    ],
)
def test_a_pages_encoding_is_found(tmp_path: Path, declaration: str, codec: str) -> None:
    text = "Привет, мир" if codec == "cp1251" else "Straße “für” Öl"
    page = f"<html><head>{declaration}<title>{text}</title></head><body><p>{text}</p></body></html>"
    header, body = converted(tmp_path, page.encode(codec))
    assert (header["title"], body) == (text, text)


def test_left_out_end_tags_lose_no_text(tmp_path: Path) -> None:
    _, body = converted(tmp_path, "<html><body>" + "".join(f"<p>word{i}\n" for i in range(1_000)))
    assert body.split() == [f"word{i}" for i in range(1_000)]
    _, body = converted(tmp_path, "<html><body><table><tr><th>a<th>b<tr><td>1<td>2</table></body></html>")
    assert body == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_layout_tables_are_read_to_the_bottom_and_deeper_text_is_told(tmp_path: Path) -> None:
    def nested(depth: int) -> str:
        return f"<html><body>top {'<div>' * depth}bottom{'</div>' * depth}</body></html>"

    assert "bottom" in converted(tmp_path, nested(200))[1]
    output = samples.convert(samples.write(tmp_path / "deep.html", nested(5_000)))
    assert any("5000 levels deep" in warning for warning in output.warnings)


def test_a_page_without_text_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(NoText, match="scripts"):
        converted(tmp_path, "<html><body><script>render()</script></body></html>")


def message(**headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = headers.get("sender", "Ann Lee <ann@example.org>")
    mail["To"] = "Bob <bob@example.org>"
    mail["Subject"] = headers.get("subject", "Grüße: der Plan")
    mail["Date"] = "Tue, 05 Mar 2024 10:00:00 +0100"
    return mail


def test_a_message_with_headers_text_and_the_names_of_its_attachments(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("Plain text of the message\n")
    mail.add_alternative("<p>Rich <b>text</b> of the message</p><script>x()</script>", subtype="html")
    mail.add_attachment(b"a,b\nSECRET,1\n", maintype="text", subtype="csv", filename="plän.csv")
    header, body = converted(tmp_path, mail.as_bytes(), "a.eml")
    assert (header["title"], header["created"]) == ("Grüße: der Plan", "2024-03-05T10:00:00+01:00")
    assert body.startswith("# Grüße: der Plan\n\n- **From:** Ann Lee \\<ann@example.org>\n- **To:** Bob")
    assert "Rich **text** of the message" in body
    assert "Plain text" not in body
    assert "**Attachments:**\n\n- plän.csv (text/csv)" in body
    assert "SECRET" not in body


def test_a_plain_message_keeps_its_lines(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("Hello,\n\n> quoted\n> lines\n\n1. one\n2. two\n")
    _, body = converted(tmp_path, mail.as_bytes(), "a.eml")
    assert body.endswith("Hello,\n\n> quoted\n> lines\n\n1. one\n2. two")


def test_an_empty_rich_alternative_does_not_hide_the_plain_one(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("The plain words\n")
    mail.add_alternative("<img src='cid:1'>", subtype="html")
    assert "The plain words" in converted(tmp_path, mail.as_bytes(), "a.eml")[1]


def test_a_forwarded_message_is_read_too(tmp_path: Path) -> None:
    inner, mail = message(subject="The inner one"), message()
    inner.set_content("Inner words\n")
    mail.set_content("Outer words\n")
    mail.add_attachment(inner)
    _, body = converted(tmp_path, mail.as_bytes(), "a.eml")
    order = ["Outer words", "## Forwarded message: The inner one", "Inner words"]
    assert [body.index(part) for part in order] == sorted(body.index(part) for part in order)


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@b\nSubject: =?utf-8?B?////?=\n\nwords\n",
        b"From: a@b\nSubject: =?no-such-charset?Q?x?=\n\nwords\n",
        "From: a@b\nSubject: rohe Ümläute\n\nwords\n".encode(),
        b"From: a@b\nSubject: x\nContent-Type: text/plain; charset=no-such\n\nwords\n",
        b"From: a@b\nSubject: x\nContent-Type: multipart/mixed\n\nwords\n",
        b"From: a@b\nSubject: x\nContent-Transfer-Encoding: base64\n\nd29yZHM=!!\n",
        b"From: a@b\nSubject: x\nDate: nonsense\nContent-Type: multipart/mixed; boundary=z\n\n--z\n\nwords\n",
        b"From: " + b"a@b, " * 9_000 + b"\nSubject: x\n\nwords\n",
    ],
)
def test_broken_messages_are_read_as_far_as_possible(tmp_path: Path, raw: bytes) -> None:
    header, body = converted(tmp_path, raw, "a.eml")
    assert "words" in body
    assert len(body) < 3_000
    assert header["title"]


def test_a_message_nested_beyond_measure_is_refused(tmp_path: Path) -> None:
    raw = b"".join(b"From: a@b\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n" for _ in range(3_000))
    with pytest.raises(UnreadableDocument, match="nested"):
        converted(tmp_path, raw, "a.eml")
