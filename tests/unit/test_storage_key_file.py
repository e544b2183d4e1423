"""The identity file in the home: made once, kept from others, and told of when it cannot be used."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.age import X25519Identity, parse_identities
from blocks.errors import InvalidSettings
from blocks.keys import add_identity, load_storage_keys
from blocks.keys.block import KeyPair
from blocks.keys.key_file import MAX_FILE_BYTES
from blocks.settings import Settings

OTHER = X25519Identity.generate()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_key_pair_is_made_once_and_is_its_owners_alone(home: Path) -> None:
    told: list[Path] = []
    first = load_storage_keys(Settings(home=home), on_created=told.append)
    path = home / "storage-identity"
    assert told == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.recipient == first.identities[0].recipient
    second = load_storage_keys(Settings(home=home), on_created=told.append)
    assert second.encrypted_for == first.encrypted_for
    assert len(told) == 1
    assert [entry.name for entry in home.iterdir()] == ["storage-identity"]


def test_the_file_is_one_that_age_keygen_could_have_made(home: Path) -> None:
    keys = load_storage_keys(Settings(home=home))
    created, public, secret = (home / "storage-identity").read_text().splitlines()
    assert created.startswith("# created: 2")
    assert public == f"# public key: {keys.encrypted_for}"
    assert secret == keys.identities[0].text


_MAKE = """
import sys
from pathlib import Path
from blocks.keys import load_storage_keys
from blocks.settings import Settings
sys.stdin.readline()
print(load_storage_keys(Settings(home=Path(sys.argv[1]))).encrypted_for)
"""


def test_processes_that_need_the_first_key_at_once_share_it(home: Path) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", _MAKE, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    made = {maker.communicate("\n", timeout=120)[0] for maker in makers}
    assert len(made) == 1


def test_without_encryption_no_key_is_made_and_an_earlier_one_still_opens(home: Path) -> None:
    keys = load_storage_keys(Settings(home=home, encrypt=False))
    assert (keys.recipient, keys.identities) == (None, ())
    assert not home.exists()
    made = load_storage_keys(Settings(home=home))
    assert load_storage_keys(Settings(home=home, encrypt=False)).opens(made.encrypted_for)


def test_a_recipient_alone_makes_no_key(home: Path) -> None:
    keys = load_storage_keys(Settings(home=home, storage_recipient=f" {OTHER.recipient.text}\n"))
    assert keys.encrypted_for == OTHER.recipient.text
    assert keys.identities == ()
    assert not keys.opens(OTHER.recipient.text)
    assert not home.exists()


def test_a_new_key_comes_first_and_the_earlier_ones_stay(home: Path) -> None:
    path = home / "storage-identity"
    first = load_storage_keys(Settings(home=home))
    made = add_identity(path, now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    keys = load_storage_keys(Settings(home=home))
    assert keys.encrypted_for == made.recipient.text
    assert keys.opens(first.encrypted_for)
    assert path.read_text().startswith("# created: 2026-01-02T03:04:05Z\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.text for one in parse_identities(path.read_text())] == [made.text, first.identities[0].text]


_ADD = """
import sys
from pathlib import Path
from blocks.keys import add_identity
sys.stdin.readline()
for _ in range(20):
    print(add_identity(Path(sys.argv[1])).text)
"""


def test_of_keys_that_processes_add_at_once_none_is_lost(home: Path) -> None:
    path = home / "storage-identity"
    load_storage_keys(Settings(home=home))
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", _ADD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    made = [line for maker in makers for line in maker.communicate(timeout=120)[0].splitlines()]
    assert len(made) == 80
    assert {one.text for one in parse_identities(path.read_text())} > set(made)


def test_a_key_is_added_to_the_file_behind_a_link(home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared-identity"
    write(shared, OTHER.text.encode() + b"\n")
    home.mkdir()
    path = home / "storage-identity"
    path.symlink_to(shared)
    made = add_identity(path)
    assert path.is_symlink()
    assert [one.text for one in parse_identities(shared.read_text())] == [made.text, OTHER.text]


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


BROKEN: dict[str, Callable[[Path], None]] = {
    "not keys": lambda path: write(path, b"hello\n"),
    "empty": lambda path: write(path, b""),
    "not text": lambda path: write(path, b"\xff\xfe"),
    "cut": lambda path: write(path, OTHER.text[:-3].encode()),
    "readable by everybody": lambda path: write(path, OTHER.text.encode(), 0o644),
    "a folder": lambda path: path.mkdir(parents=True),
    "longer than is read": lambda path: write(path, OTHER.text.encode() + b"\n" * MAX_FILE_BYTES),
}


@pytest.mark.parametrize("breakage", BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_used_is_told_without_its_content_and_kept(
    home: Path, breakage: Callable[[Path], None]
) -> None:
    path = home / "storage-identity"
    breakage(path)
    with pytest.raises(InvalidSettings) as caught:
        load_storage_keys(Settings(home=home))
    assert str(path) in caught.value.message
    assert OTHER.text[:-3] not in caught.value.message
    assert path.exists()


def test_a_file_that_was_named_and_is_not_there_is_not_made(home: Path) -> None:
    with pytest.raises(InvalidSettings, match="WAYBILL_STORAGE_IDENTITY_FILE"):
        load_storage_keys(Settings(home=home, storage_identity_file=home / "mounted"))
    assert not home.exists()


@pytest.mark.parametrize(
    "recipient", ["age1nonsense", OTHER.text, "", "ssh-ed25519 AAAA"], ids=["malformed", "secret", "empty", "ssh"]
)
def test_a_recipient_that_is_none_is_told_and_a_secret_in_its_place_is_not_repeated(home: Path, recipient: str) -> None:
    with pytest.raises(InvalidSettings, match="WAYBILL_STORAGE_RECIPIENT") as caught:
        load_storage_keys(Settings(home=home, storage_recipient=recipient))
    assert OTHER.text not in caught.value.message


def test_the_block_holds_what_the_file_holds() -> None:
    both = KeyPair.model_validate({"recipient": OTHER.recipient.text, "identities": f"# a comment\n{OTHER.text}\n"})
    assert both.storage_keys().opens(OTHER.recipient.text)
    assert OTHER.text not in repr(both)
    writer = KeyPair.model_validate({"recipient": OTHER.recipient.text})
    assert writer.storage_keys().identities == ()
    for broken in ({"recipient": "x"}, {"recipient": OTHER.recipient.text, "identities": "x"}):
        with pytest.raises(InvalidSettings, match="key-pair"):
            KeyPair.model_validate(broken).storage_keys()
