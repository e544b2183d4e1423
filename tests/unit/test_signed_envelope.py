"""Messages inside signed S/MIME envelopes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tasks.conversion.mail.signed_envelope import signed_content
from tests.unit import conversion_samples as samples

SIGNED = bytes.fromhex("06092a864886f70d010702")
DATA = bytes.fromhex("06092a864886f70d010701")
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe fare is + 24 euros.\r\n"


def value(tag: int, content: bytes, *, indefinite: bool = False) -> bytes:
    if indefinite:
        return bytes([tag, 0x80]) + content + b"\0\0"
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(content) < 128 else bytes([0x80 + len(size)]) + size) + content


def envelope(content: bytes, *, indefinite: bool = False, kind: bytes = SIGNED) -> bytes:
    if indefinite:
        pieces = b"".join(value(0x04, content[at : at + 20]) for at in range(0, len(content), 20))
        octets = value(0x24, pieces, indefinite=True)
    else:
        octets = value(0x04, content)
    inner = value(0x30, DATA + value(0xA0, octets, indefinite=indefinite), indefinite=indefinite)
    signed = value(0x30, value(0x02, b"\1") + value(0x31, b"") + inner + value(0x31, b""), indefinite=indefinite)
    return value(0x30, kind + value(0xA0, signed, indefinite=indefinite), indefinite=indefinite)


@pytest.mark.parametrize("indefinite", [False, True])
def test_the_content_is_found(indefinite: bool) -> None:
    assert signed_content(envelope(TEXT * 9, indefinite=indefinite)) == TEXT * 9


def test_what_is_no_signed_envelope_has_no_content() -> None:
    encrypted = bytes.fromhex("06092a864886f70d010703")
    assert signed_content(envelope(TEXT, kind=encrypted)) is None
    assert signed_content(b"") is None
    whole = envelope(TEXT, indefinite=True)
    for cut in range(len(whole)):
        found = signed_content(whole[:cut])
        assert found is None or TEXT.startswith(found)
    assert signed_content(b"\x30\x80" * 10_000) is None


def test_a_mail_in_a_signed_envelope_is_read(tmp_path: Path) -> None:
    raw = (
        b"From: a@b\r\nSubject: x\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
        b"Content-Disposition: attachment; filename=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    path = samples.write(tmp_path / "a.eml", raw + base64.encodebytes(envelope(TEXT)))
    output = samples.convert(path)
    assert "The fare is + 24 euros." in samples.split(output)[1]
    assert "- smime.p7m (application/pkcs7-mime)" in samples.split(output)[1]
    assert output.warnings == ()
    damaged = samples.convert(samples.write(path, raw + base64.encodebytes(b"\x30\x80")))
    assert damaged.warnings == ("the message is signed in a form that is not read; its text may be missing",)
