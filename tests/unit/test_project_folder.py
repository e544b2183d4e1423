"""The folder whose home and settings file are used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blocks.settings import home_above, load_settings, settings_file, settings_file_for_children, unknown_variables
from blocks.settings.project_folder import project_folder


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WAYBILL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_without_any_it_is_the_current_one(below: Path) -> None:
    assert load_settings().home == below / ".waybill"
    assert settings_file() is None


def test_the_nearest_above_is_used(tmp_path: Path, below: Path) -> None:
    (tmp_path / ".waybill").mkdir()
    assert project_folder(below) == tmp_path
    assert load_settings().home == tmp_path / ".waybill"
    (below.parent / ".waybill").mkdir()
    assert load_settings().home == below.parent / ".waybill"
    (below / ".waybill").mkdir()
    assert load_settings().home == below / ".waybill"


def test_home_and_settings_are_of_the_same_folder(tmp_path: Path, below: Path) -> None:
    (tmp_path / ".waybill").mkdir()
    (below.parent / "waybill.toml").write_text("workers = 3\n")
    assert settings_file() == below.parent / "waybill.toml"
    assert load_settings().home == below.parent / ".waybill"
    assert load_settings().workers == 3
    assert settings_file_for_children() == {"WAYBILL_CONFIG": str(below.parent / "waybill.toml")}


def test_a_home_that_is_named_is_not_looked_for(tmp_path: Path, below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".waybill").mkdir()
    monkeypatch.setenv("WAYBILL_HOME", str(below / "mine"))
    assert load_settings().home == below / "mine"
    assert home_above() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", [".waybill", "waybill.toml"])
def test_what_another_account_has_put_above_is_not_used(tmp_path: Path, below: Path, name: str) -> None:
    (tmp_path / name).touch()
    os.chown(tmp_path / name, 12345, 12345)
    assert project_folder(below) == below


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("WAYBILL_HOEM", "WAYBILL_HOME"),
        ("WAYBILL_STORAGE_URI", "WAYBILL_STORAGE_URL"),
        ("WAYBILL_STAGE_TIMEOUT", "WAYBILL_STAGE_TIMEOUT_SECONDS"),
    ],
)
def test_a_mistyped_variable_is_found(typed: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(typed, "x")
    assert unknown_variables() == {typed: meant}


@pytest.mark.parametrize("name", ["WAYBILL_SERVICE_HOST", "WAYBILL_PORT_8000_TCP_ADDR", "WAYBILL_WORKERS"])
def test_what_others_set_for_their_own_use_is_no_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert unknown_variables() == {}
