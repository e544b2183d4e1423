"""The file of signing keys: made once, private, rotated, and refused when it is not as it should be."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.errors import InvalidOptions, InvalidSettings, LinkInvalid
from blocks.links.signing_keys import MAX_KEYS, LinkKeys
from blocks.links.tokens import DOWNLOAD, MAX_LEEWAY, MAX_LIFETIME, check, issue


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "link-keys"


def token(keys: LinkKeys, time: Time, lifetime: timedelta = timedelta(hours=1)) -> str:
    return issue(
        key=keys.signing_key(), scope=DOWNLOAD, subject="x", expires_at=time.now + lifetime, clock=time
    )[0]  # fmt: skip


def counts(text: str, keys: LinkKeys, time: Time) -> bool:
    try:
        check(text, keys=keys.verifying_keys(), scope=DOWNLOAD, subject="x", clock=time)
    except LinkInvalid:
        return False
    return True


def test_the_file_is_made_on_first_need_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        key = LinkKeys(path).signing_key()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert len(key.secret) == 32
    assert LinkKeys(path).signing_key() == key, "the second time it is read"
    assert {entry.name for entry in path.parent.iterdir()} == {"link-keys", "link-keys.lock"}


def test_keys_that_were_lost_are_replaced_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        LinkKeys(path).signing_key()
        assert [record.levelname for record in caplog.records] == ["INFO"]
        path.unlink()
        LinkKeys(path).signing_key()
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert str(path) in caplog.messages[1] and "earlier links do not work" in caplog.messages[1]


def test_of_many_that_make_the_file_at_once_all_get_the_same_key(path: Path) -> None:
    script = f"""
from pathlib import Path
from blocks.links.signing_keys import LinkKeys
input()
print(LinkKeys(Path({str(path)!r})).signing_key().id)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda process: process.communicate("\n")[0].strip(), started))
    assert all(process.returncode == 0 for process in started)
    assert set(said) == {LinkKeys(path).signing_key().id}


def test_of_many_that_rotate_at_once_no_key_is_lost(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: LinkKeys(path).rotate().key_id, range(24)))
    assert set(made) == LinkKeys(path).verifying_keys().keys()


def test_after_a_rotation_the_new_key_signs_and_old_links_work_on(path: Path) -> None:
    time = Time()
    keys = LinkKeys(path, clock=time)
    old = keys.signing_key()
    link = token(keys, time, MAX_LIFETIME)
    change = keys.rotate()
    assert change.key_id == keys.signing_key().id != old.id
    assert (change.verifying, change.dropped) == ((old.id,), ())
    assert counts(link, keys, time)
    # The last moment of the last link that the old key can have signed.
    time.go_on(MAX_LIFETIME - timedelta(seconds=1))
    assert counts(link, keys, time)
    time.go_on(MAX_LEEWAY + timedelta(seconds=1))
    assert keys.verifying_keys().keys() == {change.key_id}
    assert keys.rotate().dropped == (old.id,)
    assert old.id not in path.read_text()


def test_the_life_of_a_key_counts_from_its_successor_not_from_its_own_making(path: Path) -> None:
    time = Time()
    keys = LinkKeys(path, clock=time)
    keys.signing_key()
    time.go_on(timedelta(days=400))
    link = token(keys, time, MAX_LIFETIME)
    keys.rotate()
    time.go_on(MAX_LIFETIME - timedelta(seconds=1))
    assert counts(link, keys, time)


def test_a_revocation_ends_every_link_at_once_also_for_those_who_have_read_the_keys(path: Path) -> None:
    time = Time()
    gateway, command = LinkKeys(path, clock=time), LinkKeys(path, clock=time)
    links = [token(command, time)]
    command.rotate()
    links.append(token(command, time))
    assert all(counts(link, gateway, time) for link in links)
    change = command.rotate(revoke=True)
    assert len(change.dropped) == 2
    assert not any(counts(link, gateway, time) for link in links)
    assert counts(token(gateway, time), command, time)


def test_a_rotation_makes_the_file_where_there_is_none(path: Path) -> None:
    assert LinkKeys(path).rotate().verifying == ()
    assert LinkKeys(path).rotate(revoke=True).verifying == ()


def test_keys_behind_a_link_stay_shared_when_they_are_rotated(path: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "keys"
    LinkKeys(shared).signing_key()
    path.parent.mkdir()
    path.symlink_to(shared)
    made = LinkKeys(path).rotate().key_id
    assert LinkKeys(shared).signing_key().id == made
    assert path.is_symlink()


def test_rotating_in_a_loop_ends(path: Path) -> None:
    keys = LinkKeys(path)
    with pytest.raises(InvalidOptions, match="--revoke"):
        for _ in range(MAX_KEYS + 1):
            keys.rotate()
    assert len(keys.rotate(revoke=True).dropped) == MAX_KEYS


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666, 0o777, 0o601])
def test_a_file_that_others_have_rights_to_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    keys = LinkKeys(path)
    keys.signing_key()
    path.chmod(mode)
    # Also by those who had read it while it was in order.
    for reader in (LinkKeys(path), keys):
        with pytest.raises(InvalidSettings, match=f"{mode:04o}.*chmod 600"):
            reader.signing_key()
    path.chmod(0o400)
    assert LinkKeys(path).signing_key()


KEY = {"id": "a", "secret": "A" * 43 + "=", "created_at": "2026-05-04T12:00:00+00:00"}
BROKEN = {
    "empty": "",
    "cut": '{"format": "waybill.link-keys/1", "keys": [',
    "no JSON": "ssh-rsa AAAA",
    "not text": b"\xff\x00",
    "a list": [],
    "null": None,
    "no keys": {"format": "waybill.link-keys/1", "keys": []},
    "keys null": {"format": "waybill.link-keys/1", "keys": None},
    "another format": {"format": "waybill.link-keys/2", "keys": [KEY]},
    "no format": {"keys": [KEY]},
    "twice the same": {"format": "waybill.link-keys/1", "keys": [KEY, KEY]},
    "key is a string": {"format": "waybill.link-keys/1", "keys": ["a"]},
    "deep": "[" * 50_000,
    "huge": " " * 1_000_000,
    **{
        f"{name} {value!r}": {"format": "waybill.link-keys/1", "keys": [KEY | {name: value}]}
        for name, values in {
            "id": ("", "a b", "a" * 65, 1, None),
            "secret": ("", "QUJD", "?" * 44, "A" * 42, "A" * 200, 1, None, "é" * 44),
            "created_at": ("", "today", "2026-05-04T12:00:00", 1, None),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=lambda content: ascii(content)[:60])
def test_a_broken_file_is_refused_and_never_quoted(path: Path, content: object) -> None:
    path.parent.mkdir()
    raw = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    path.chmod(0o600)
    for use in (LinkKeys(path).signing_key, LinkKeys(path).verifying_keys, LinkKeys(path).rotate):
        with pytest.raises(InvalidSettings, match="restore it, or remove it") as caught:
            use()
        assert str(path) in caught.value.message
        assert "AAAA" not in caught.value.message
        assert caught.value.__cause__ is None


def test_what_is_no_file_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(InvalidSettings):
        LinkKeys(path).signing_key()
    fifo = path.parent / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(InvalidSettings, match="regular"):
        LinkKeys(fifo).signing_key()
    loop = path.parent / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InvalidSettings):
        LinkKeys(loop).signing_key()
    with pytest.raises(InvalidSettings):
        LinkKeys(Path("/proc/nowhere/link-keys")).signing_key()


def test_a_secret_shows_nowhere(path: Path) -> None:
    keys = LinkKeys(path)
    secret = keys.signing_key().secret
    shown = f"{keys!r} {keys.signing_key()!r} {keys.verifying_keys()!r} {keys.rotate()!r} {vars(keys)!r}"
    assert repr(secret)[2:-1] not in shown
    assert secret.hex() not in shown
