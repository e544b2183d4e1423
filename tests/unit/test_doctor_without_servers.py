"""`waybill doctor` on a home whose files keep its servers from starting: each is named, and the rest is examined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.settings import current_settings
from waybill.commands.doctor import examine
from waybill.services.doctor.findings import Findings, Tolerances


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a database that no server can be started for."""
    home = tmp_path / "home"
    (home / "postgres").mkdir(parents=True)
    home.chmod(0o700)
    (home / "postgres" / "PG_VERSION").touch()
    (home / "logs").touch()
    monkeypatch.setenv("WAYBILL_HOME", str(home))
    current_settings.cache_clear()
    yield home
    current_settings.cache_clear()


def _write(name: str, content: bytes) -> Callable[[Path], object]:
    def write(home: Path) -> None:
        (home / name).write_bytes(content)
        (home / name).chmod(0o600)

    return write


@pytest.mark.parametrize(
    ("spoil", "check", "named"),
    [
        (_write("prefect-api-auth", b"\xff\x00odd"), "key-files", "prefect-api-auth"),
        (_write("prefect-api-auth", b"no colon"), "key-files", "prefect-api-auth"),
        (_write("home-id", b"../odd\xff"), "home", "home-id"),
        (_write("home-id", b""), "home", "home-id"),
        (lambda home: (home / "home-id").mkdir(), "home", "home-id"),
    ],
)
def test_a_file_that_keeps_servers_from_starting_is_named(
    home: Path, spoil: Callable[[Path], object], check: str, named: str
) -> None:
    spoil(home)
    found = Findings(tolerances=Tolerances())
    examine(found)
    (problem,) = [one for one in found.found if one.check == check]
    assert str(home / named) in problem.message


def test_a_log_that_cannot_be_written_hides_no_other_check(home: Path) -> None:
    found = Findings(tolerances=Tolerances())
    examine(found)
    (problem,) = [one for one in found.found if one.check == "database"]
    assert str(home / "logs") in problem.message
    assert found.status_of("home") == "ok"
