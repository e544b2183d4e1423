"""A text in the header of an age file: for its readers alone, and covered by the header's MAC."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.age import Attachment, X25519Identity, seal_whole, unseal, unseal_whole
from blocks.age.attachment import open_attachment
from blocks.age.file_key import new_file_key
from blocks.age.header import Stanza, make_header, parse_header
from blocks.errors import AuthenticationFailed, MalformedAgeFile, NoMatchingIdentity

TYPE = "example-note"


def test_it_is_read_with_the_content_and_gives_nothing_away_without_the_key() -> None:
    identity = X25519Identity.generate()
    header, payload = seal_whole(b"content", [identity.recipient], Attachment(TYPE, b"a secret name"))
    assert unseal_whole(header + payload, [identity], TYPE) == (b"content", b"a secret name", header)
    assert b"".join(unseal([header + payload], [identity])) == b"content"
    assert b"secret" not in header
    with pytest.raises(NoMatchingIdentity):
        unseal_whole(header + payload, [X25519Identity.generate()], TYPE)


def test_each_time_it_is_sealed_with_a_key_of_its_own() -> None:
    file_key, note = new_file_key(), Attachment(TYPE, b"the same text")
    first, second = note.seal(file_key), note.seal(file_key)
    assert first.arguments != second.arguments
    assert first.body != second.body
    assert open_attachment([first], file_key, TYPE) == open_attachment([second], file_key, TYPE) == b"the same text"


def test_one_of_another_file_is_refused() -> None:
    stanza = Attachment(TYPE, b"of another file").seal(new_file_key())
    with pytest.raises(AuthenticationFailed):
        open_attachment([stanza], new_file_key(), TYPE)


def test_a_salt_is_the_only_argument_and_there_is_one_stanza() -> None:
    file_key = new_file_key()
    stanza = Attachment(TYPE, b"x").seal(file_key)
    odd = [
        [stanza, stanza],
        [Stanza((TYPE,), stanza.body)],
        [Stanza((*stanza.arguments, "more"), stanza.body)],
        [Stanza((TYPE, "c2hvcnQ"), stanza.body)],
    ]
    for stanzas in odd:
        with pytest.raises(MalformedAgeFile):
            open_attachment(stanzas, file_key, TYPE)
    assert open_attachment([Stanza(("another", *stanza.arguments[1:]), stanza.body)], file_key, TYPE) is None


def test_without_its_stanza_the_header_is_no_longer_authentic() -> None:
    identity = X25519Identity.generate()
    encoded, payload = seal_whole(b"content", [identity.recipient], Attachment(TYPE, b"text"))
    header = parse_header(encoded)
    cut = replace(header, stanzas=header.stanzas[:1]).encode()
    with pytest.raises(AuthenticationFailed):
        unseal_whole(cut + payload, [identity], TYPE)


def test_the_largest_text_still_makes_a_header_that_is_read() -> None:
    file_key = new_file_key()
    stanza = Attachment(TYPE, bytes(64 * 1024)).seal(file_key)
    found = parse_header(make_header([stanza], file_key).encode())
    assert open_attachment(found.stanzas, file_key, TYPE) == bytes(64 * 1024)
