"""Secret files are read only while no other account can read or exchange them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from blocks.errors import InvalidSettings
from blocks.runtime.private_file import read_private

SECRET = b"a secret\n"
# The account "nobody"; any other than the one that runs the tests does.
OTHER = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    path = folder / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def read(path: Path) -> bytes:
    return read_private(path, what="a secret key", most_bytes=100)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read(path) == SECRET


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o606, 0o622, 0o601])
def test_a_file_with_rights_for_others_is_refused_and_left_as_it_is(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(InvalidSettings, match=f"{mode:04o}.*chmod 600"):
        read(path)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    with pytest.raises(InvalidSettings, match="chmod go-w"):
        read(path)
    path.parent.chmod(0o1777)  # as /tmp: no account can exchange a file of another
    assert read(path) == SECRET


def test_a_link_is_followed_and_what_it_leads_to_is_checked(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read(link) == SECRET
    path.chmod(0o644)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        read(link)
    path.chmod(0o600)
    path.parent.chmod(0o777)
    with pytest.raises(InvalidSettings, match="chmod go-w"):
        read(link)


def test_what_is_no_regular_file_is_refused_and_does_not_hang(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(InvalidSettings, match="not a regular file"):
        read(path)


@AS_ROOT
def test_a_file_of_another_account_is_refused(path: Path) -> None:
    os.chown(path, OTHER, OTHER)
    with pytest.raises(InvalidSettings, match=r"another account.*chown"):
        read(path)


@AS_ROOT
def test_a_mounted_secret_of_root_may_be_read_by_a_group() -> None:
    # Not pytest's folder: only root can enter that.
    with tempfile.TemporaryDirectory(prefix="waybill-mounted-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "secret"
        path.write_bytes(SECRET)
        path.chmod(0o440)
        os.chown(path, 0, OTHER)
        os.setegid(OTHER)
        os.seteuid(OTHER)
        try:
            assert read(path) == SECRET
        finally:
            os.seteuid(0)
            os.setegid(0)
