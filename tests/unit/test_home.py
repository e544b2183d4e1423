"""The home is its owner's alone, whatever rights it had."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from blocks.errors import StackUnavailable
from waybill.stack.home import bound_logs, log_path, open_log, prepare_home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        prepare_home(tmp_path / "new" / "home")
    finally:
        os.umask(former)
    assert mode(tmp_path / "new" / "home") == 0o700


@pytest.mark.parametrize("before", [0o777, 0o775, 0o770, 0o755, 0o750, 0o740, 0o720, 0o701, 0o711, 0o700])
def test_every_right_of_others_is_taken(tmp_path: Path, before: int) -> None:
    tmp_path.chmod(before)
    prepare_home(tmp_path)
    # Run by root, the account of Postgres passes the home with the group.
    passage = before & stat.S_IXGRP if os.geteuid() == 0 else 0
    assert mode(tmp_path) == 0o700 | passage


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_home_of_another_account_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o770)
    home.chmod(0o770)
    os.chown(home, 65534, 65534)
    with pytest.raises(StackUnavailable, match=r"another account \(uid 65534\).*chown -R"):
        prepare_home(home)
    assert mode(home) == 0o770


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.write_text("")
    with pytest.raises(StackUnavailable, match="WAYBILL_HOME"):
        prepare_home(path)


def test_a_file_system_without_rights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT and some mounts of other systems do: they report success and change nothing."""
    tmp_path.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    with pytest.raises(StackUnavailable, match="keeps no rights"):
        prepare_home(tmp_path)


def test_a_log_that_is_written_to_stays_bounded_and_its_end_can_be_read(tmp_path: Path) -> None:
    with open_log(tmp_path, "gateway") as log, open_log(tmp_path, "short") as short:
        short.write(b"one line\n")
        for block in range(5):
            log.write(b"%d\n" % block + b"x" * 11 * 2**20)
            log.flush()
            bound_logs(tmp_path)
            log.write(b"after %d\n" % block)
            log.flush()
    path = log_path(tmp_path, "gateway")
    assert path.read_bytes() == b"after 4\n", "the writer goes on at the new end"
    former = path.with_name("gateway.log.1")
    assert former.read_bytes().startswith(b"after 3\n4\nxxx")
    assert (mode(former), log_path(tmp_path, "short").read_bytes()) == (0o600, b"one line\n")
    bound_logs(tmp_path / "without-logs")
