"""Keys of age: how they are written, which are refused, and that no secret is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.age import (
    HybridIdentity,
    HybridRecipient,
    Identity,
    Recipient,
    ScryptIdentity,
    ScryptRecipient,
    X25519Identity,
    X25519Recipient,
    identity_file,
    parse_identities,
    parse_recipient,
    parse_recipients,
    seal,
    unseal,
)
from blocks.age.bech32 import _ALPHABET as ALPHABET
from blocks.age.bech32 import _expanded, _polymod, decode_bech32, encode_bech32
from blocks.age.canonical_base64 import decode_base64, encode_base64
from blocks.age.file_key import derive_key, wrap_file_key
from blocks.age.header import Stanza, make_header
from blocks.age.key_files import parse_identity
from blocks.age.recipients import open_header
from blocks.errors import InvalidKey, MalformedAgeFile, NoMatchingIdentity

# The examples of C2SP age.md, "The X25519 recipient type".
SECRET = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
PUBLIC = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
# The one of "The MLKEM768-X25519 (i.e. X-Wing) hybrid post-quantum recipient type".
HYBRID_SECRET = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
HYBRID_PUBLIC_BEGINS, HYBRID_PUBLIC_ENDS = "age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235j", "3fzv49zc0k"
QUICK_LOG_N = 4
PROPERTY = settings(max_examples=200)


def little_endian(number: int) -> bytes:
    return number.to_bytes(32, "little")


# RFC 7748 and the curve's small subgroup: the points of order 1, 2, 4 and 8 with reduced coordinates.
LOW_ORDER = [
    little_endian(0),
    little_endian(1),
    little_endian(2**255 - 20),
    little_endian(325606250916557431795983626356110631294008115727848805560023387167927233504),
    little_endian(39382357235489614581723060781553021112529911719440698176882885853963445705823),
]


def test_the_examples_of_the_specification_are_read_and_written() -> None:
    identity = X25519Identity.from_text(SECRET)
    assert identity.text == SECRET
    assert identity.recipient.text == PUBLIC
    assert parse_recipient(PUBLIC) == identity.recipient
    assert {parse_recipient(PUBLIC), identity.recipient} == {identity.recipient}


def test_the_hybrid_example_of_the_specification_is_read_and_written() -> None:
    identity = HybridIdentity.from_text(HYBRID_SECRET)
    assert identity.text == HYBRID_SECRET
    text = identity.recipient.text
    assert text.startswith(HYBRID_PUBLIC_BEGINS)
    assert text.endswith(HYBRID_PUBLIC_ENDS)
    assert parse_recipient(text) == identity.recipient
    assert hash(parse_recipient(text)) == hash(identity.recipient)


@PROPERTY
@given(prefix=st.text("abc1-z", min_size=1, max_size=6), value=st.binary(max_size=60))
def test_bech32_reads_what_it_writes_and_no_other_case(prefix: str, value: bytes) -> None:
    text = encode_bech32(prefix, value)
    assert decode_bech32(text) == (prefix, value)
    assert decode_bech32(text.upper()) == (prefix, value)
    if text[:-1].upper() + text[-1] not in {text, text.upper()}:
        assert decode_bech32(text[:-1].upper() + text[-1]) is None


@PROPERTY
@given(
    text=st.one_of(st.text(max_size=30), st.text("qpzry1a", max_size=30)),
    place=st.integers(0, 61),
    by=st.text("qa1", min_size=1, max_size=1),
)
def test_whatever_bech32_accepts_it_writes_again(text: str, place: int, by: str) -> None:
    for candidate in (text, PUBLIC[:place] + by + PUBLIC[place + 1 :], PUBLIC[:place] + by + PUBLIC[place:]):
        if (decoded := decode_bech32(candidate)) is not None:
            assert encode_bech32(*decoded) == candidate.lower()


def checked(prefix: str, data: str) -> str:
    """The Bech32 text of *data*, one character for five bits, however the bits are used."""
    values = [ALPHABET.index(character) for character in data]
    remainder = _polymod([*_expanded(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    return f"{prefix}1{data}" + "".join(ALPHABET[remainder >> shift & 31] for shift in range(25, -1, -5))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (checked("age", "qq"), b"\x00"),
        (checked("age", "qp"), None),
        (checked("age", "qy"), b"\x01"),
        (checked("age", "qqq"), None),
        (checked("age", "q"), None),
        (checked("age", "qqqqqqqq"), bytes(5)),
        (checked("age", ""), b""),
        (checked("a ge", "qq"), None),
        (checked("a\x7fge", "qq"), None),
        (checked("", "qq"), None),
        (checked("age", "q" * 8000), None),
    ],
)
def test_bech32_has_one_text_for_each_key_and_an_end(text: str, value: bytes | None) -> None:
    assert decode_bech32(text) == (("age", value) if value is not None else None)


# BIP 173, "Test vectors".
@pytest.mark.parametrize(
    "text",
    ["A12UEL5L", "a12uel5l", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", "?1ezyfcl", f"1{'1' + 'q' * 82}c8247j"],
)
def test_published_valid_bech32_is_read(text: str) -> None:
    assert decode_bech32(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "\x201nwldj5",
        "\x7f1axkwrx",
        "\x801eym55h",
        "pzry9x0s0muk",
        "1pzry9x0s0muk",
        "x1b4n0q5v",
        "li1dgmt3",
        "de1lg7wt\xff",
        "A1G7SGD8",
        "10a06t8",
        "1qzzfhee",
        "A12uEL5L",
    ],
)
def test_published_invalid_bech32_is_refused(text: str) -> None:
    assert decode_bech32(text) is None


@PROPERTY
@given(text=st.one_of(st.text("AB+/=\n aQ", max_size=9), st.binary(max_size=9).map(encode_base64)))
def test_whatever_base64_accepts_it_writes_again(text: str) -> None:
    if (value := decode_base64(text)) is not None:
        assert encode_base64(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        PUBLIC.upper(),
        PUBLIC.capitalize(),
        PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p"),
        PUBLIC + " ",
        SECRET,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL",
        encode_bech32("age", bytes(31)),
        encode_bech32("age", bytes([9]) * 33),
        encode_bech32("age1pq", bytes([9]) * 1215),
        encode_bech32("age1pq", b"\xff" * 1216),
        encode_bech32("age1tag", bytes([9]) * 33),
        "age1\N{LATIN SMALL LETTER A WITH DIAERESIS}",
    ],
)
def test_texts_that_are_no_recipient_are_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        parse_recipient(text)


@pytest.mark.parametrize(
    "text", [SECRET.lower(), SECRET[:-1], SECRET[:-1] + "Q", PUBLIC, HYBRID_SECRET.lower(), HYBRID_SECRET[:-1], ""]
)
def test_texts_that_are_no_identity_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_identity(text)
    assert not text or text[17:] not in str(caught.value)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_of_low_order_are_refused_as_recipients_and_as_shares(point: bytes) -> None:
    with pytest.raises(InvalidKey):
        X25519Recipient(point)
    wrapped = wrap_file_key(derive_key(bytes(32), salt=point, info=b"age-encryption.org/v1/X25519"), bytes(16))
    with pytest.raises(MalformedAgeFile, match="low order"):
        X25519Identity.from_text(SECRET).unwrap([Stanza(("X25519", encode_base64(point)), wrapped)])
    hybrid = decode_bech32(HybridIdentity.from_text(HYBRID_SECRET).recipient.text)
    assert hybrid is not None
    with pytest.raises(InvalidKey):
        HybridRecipient(hybrid[1][:-32] + point)


@pytest.mark.parametrize("number", [2**255 - 19, 2**255 - 19 + 9, 2**255 + 9])
def test_a_recipient_that_nobody_could_open_for_is_refused(number: int) -> None:
    with pytest.raises(InvalidKey, match="coordinate"):
        X25519Recipient(little_endian(number))


def test_a_malformed_stanza_is_refused_also_behind_one_that_fits() -> None:
    identity = X25519Identity.from_text(SECRET)
    fitting = identity.recipient.wrap(bytes(16))
    for broken in (("X25519",), ("X25519", "AA"), ("X25519", encode_base64(bytes(32)), "more")):
        with pytest.raises(MalformedAgeFile):
            identity.unwrap([*fitting, Stanza(broken, bytes(32))])
    assert identity.unwrap([Stanza(("x25519",), b""), *fitting]) == bytes(16)


@pytest.mark.parametrize(
    ("sender", "opener"),
    [
        (X25519Recipient.from_text(PUBLIC), X25519Identity.from_text(SECRET)),
        (HybridIdentity.from_text(HYBRID_SECRET).recipient, HybridIdentity.from_text(HYBRID_SECRET)),
        (ScryptRecipient("pass phrase \N{SNOWMAN}", log_n=QUICK_LOG_N), ScryptIdentity("pass phrase \N{SNOWMAN}")),
    ],
)
def test_each_kind_of_recipient_opens_its_own_files_and_no_others(sender: Recipient, opener: Identity) -> None:
    sealed = b"".join(seal([b"content"], [sender]))
    strangers: list[Identity] = [X25519Identity.generate(), HybridIdentity.generate(), ScryptIdentity("other")]
    assert b"".join(unseal([sealed], [*strangers, opener])) == b"content"
    with pytest.raises(NoMatchingIdentity):
        b"".join(unseal([sealed], strangers))
    with pytest.raises(NoMatchingIdentity):
        b"".join(unseal([sealed], []))


def test_several_recipients_each_open_the_file() -> None:
    identities = [X25519Identity.generate() for _ in range(5)]
    sealed = b"".join(seal([b"content"], [identity.recipient for identity in identities]))
    for identity in identities:
        assert b"".join(unseal([sealed], [identity])) == b"content"


def test_a_passphrase_is_never_mixed_with_anything() -> None:
    passphrase, key = ScryptRecipient("x", log_n=QUICK_LOG_N), X25519Identity.from_text(SECRET)
    for mixed in ([passphrase, key.recipient], [key.recipient, passphrase], [passphrase, passphrase]):
        with pytest.raises(InvalidKey, match="only recipient"):
            next(seal([], mixed))
    mixed_stanzas = [*passphrase.wrap(bytes(16)), *key.recipient.wrap(bytes(16))]
    with pytest.raises(MalformedAgeFile, match="only recipient"):
        ScryptIdentity("x").unwrap(mixed_stanzas)
    # Also for the one who has the key, and would not have looked at the passphrase.
    with pytest.raises(MalformedAgeFile, match="only recipient"):
        open_header(make_header(mixed_stanzas, bytes(16)), [key])


def test_a_post_quantum_file_is_not_weakened_by_another_recipient() -> None:
    with pytest.raises(InvalidKey, match="post-quantum"):
        next(seal([], [HybridIdentity.generate().recipient, X25519Identity.generate().recipient]))
    both = [HybridIdentity.generate() for _ in range(2)]
    assert b"".join(unseal(seal([b"x"], [one.recipient for one in both]), [both[1]])) == b"x"


def test_no_more_work_is_done_than_was_allowed() -> None:
    (stanza,) = ScryptRecipient("x", log_n=QUICK_LOG_N).wrap(bytes(16))
    assert ScryptIdentity("x", max_log_n=QUICK_LOG_N).unwrap([stanza]) == bytes(16)
    with pytest.raises(MalformedAgeFile, match="steps of scrypt"):
        ScryptIdentity("x", max_log_n=QUICK_LOG_N - 1).unwrap([stanza])
    for log_n in ("21", "99", "0", "04", "+4", "4 ", "9" * 5000, "\u0664"):
        with pytest.raises(MalformedAgeFile):
            ScryptIdentity("x").unwrap([Stanza(("scrypt", stanza.arguments[1], log_n), stanza.body)])


@pytest.mark.parametrize("make", [ScryptIdentity, ScryptRecipient])
def test_an_empty_passphrase_is_refused(make: type[ScryptIdentity | ScryptRecipient]) -> None:
    with pytest.raises(InvalidKey):
        make("")


@pytest.mark.parametrize("log_n", [0, -1, 31])
def test_impossible_work_is_refused(log_n: int) -> None:
    with pytest.raises(InvalidKey):
        ScryptRecipient("x", log_n=log_n)


def test_no_repr_shows_a_secret() -> None:
    shown = repr(
        [
            X25519Identity.from_text(SECRET),
            HybridIdentity.from_text(HYBRID_SECRET),
            ScryptIdentity("hunter2"),
            ScryptRecipient("hunter2"),
        ]
    )
    assert "SECRET" not in shown
    assert "hunter2" not in shown
    assert PUBLIC in repr(X25519Recipient.from_text(PUBLIC))


def test_an_identity_file_is_read_with_comments_blank_lines_and_both_line_ends() -> None:
    text = f"# created: today\r\n\r\n# public key: {PUBLIC}\r\n{SECRET}\r\n{HYBRID_SECRET}\n"
    assert [identity.text for identity in parse_identities(text)] == [SECRET, HYBRID_SECRET]
    assert [recipient.text for recipient in parse_recipients(f"# ours\n{PUBLIC}\n")] == [PUBLIC]


@pytest.mark.parametrize("line", [SECRET.lower(), SECRET[:-1], f" {SECRET}", "password1", f"{SECRET} # mine"])
def test_a_bad_line_is_named_by_its_number_and_not_repeated(line: str) -> None:
    for parse, good in ((parse_identities, SECRET), (parse_recipients, PUBLIC)):
        with pytest.raises(InvalidKey) as caught:
            parse(f"# one\n{good}\n{line}\n")
        assert "line 3" in str(caught.value)
        assert line.strip() not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but this\n"])
def test_a_file_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        parse_identities(text)
    with pytest.raises(InvalidKey):
        parse_recipients(text)


def test_an_identity_file_has_the_form_of_age_keygen() -> None:
    identity = X25519Identity.from_text(SECRET)
    moment = datetime(2026, 3, 1, 12, 30, 5, 999, tzinfo=UTC)
    assert identity_file(identity, moment) == f"# created: 2026-03-01T12:30:05Z\n# public key: {PUBLIC}\n{SECRET}\n"
    east = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert identity_file(identity, east).startswith("# created: 2026-03-01T18:00:05+05:30\n")
    with pytest.raises(ValueError, match="time zone"):
        identity_file(identity, moment.replace(tzinfo=None))
    (again,) = parse_identities(identity_file(identity, moment))
    assert again.text == SECRET


def test_new_identities_differ_and_are_those_of_the_library() -> None:
    first, second = X25519Identity.generate(), X25519Identity.generate()
    assert first.text != second.text
    secret = decode_bech32(first.text)
    assert secret is not None
    public = X25519PrivateKey.from_private_bytes(secret[1]).public_key().public_bytes_raw()
    assert first.recipient == X25519Recipient(public)
