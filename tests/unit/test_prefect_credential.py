"""The credential of a home's Prefect server: made once, for the owner alone, and what the operator may set instead."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.errors import InvalidSettings
from waybill.stack.environment import client_environment, server_environment
from waybill.stack.prefect_credential import FILE_NAME, is_given, prefect_credential

SERVER, CLIENT = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SERVER, CLIENT):
        monkeypatch.delenv(name, raising=False)


def test_it_is_made_once_at_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("one", "other")]
    for home in homes:
        home.mkdir()
    one, other = (prefect_credential(home) for home in homes)
    assert one != other
    assert one.startswith("waybill:")
    assert len(one) > 40
    assert prefect_credential(homes[0]) == one
    file = homes[0] / FILE_NAME
    assert file.read_text().strip() == one
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_commands_that_start_at_the_same_time_get_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(prefect_credential, [tmp_path] * 32))) == 1


def test_rights_of_other_accounts_on_the_file_are_taken_away(tmp_path: Path) -> None:
    made = prefect_credential(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    assert prefect_credential(tmp_path) == made
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "\n", "no-colon", ":x", "x:", "waybill:tab\there", "waybill:é", "a:b\nc:d"])
def test_a_file_that_holds_no_credential_is_refused_and_left(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(InvalidSettings, match=FILE_NAME) as refused:
        prefect_credential(tmp_path)
    assert "here" not in str(refused.value), "what it holds is not shown"
    assert (tmp_path / FILE_NAME).read_text() == content


def test_a_link_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("waybill:of-somewhere-else")
    (tmp_path / FILE_NAME).symlink_to(elsewhere)
    with pytest.raises(InvalidSettings, match=FILE_NAME):
        prefect_credential(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(InvalidSettings, match=FILE_NAME):
        prefect_credential(tmp_path)


def test_an_operator_sets_both_halves_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER, "me:secret")
    monkeypatch.setenv(CLIENT, "me:secret")
    assert is_given()
    assert prefect_credential(tmp_path) == "me:secret"
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(("one", "missing"), [(SERVER, CLIENT), (CLIENT, SERVER)])
def test_one_half_alone_is_refused_and_the_other_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, missing: str
) -> None:
    monkeypatch.setenv(one, "me:secret")
    for other in (None, ""):
        if other is not None:
            monkeypatch.setenv(missing, other)
        with pytest.raises(InvalidSettings, match=f"{one} is set without {missing}") as refused:
            prefect_credential(tmp_path)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("one", [SERVER, CLIENT])
def test_the_home_s_own_credential_may_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str) -> None:
    """As for `prefect` commands; a waybill command in the same shell still works."""
    made = prefect_credential(tmp_path)
    monkeypatch.setenv(one, made)
    assert prefect_credential(tmp_path) == made
    assert not is_given()


def test_halves_that_differ_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER, "me:secret-one")
    monkeypatch.setenv(CLIENT, "me:secret-two")
    with pytest.raises(InvalidSettings, match=f"{SERVER} and {CLIENT} differ") as refused:
        prefect_credential(tmp_path)
    assert "secret" not in str(refused.value)


def test_clients_get_the_one_half_and_the_server_both(tmp_path: Path) -> None:
    clients = client_environment(
        database_url="postgresql://", home=tmp_path, api_url="http://127.0.0.1:1/api", own_credential="waybill:x",
    )  # fmt: skip
    assert (clients[CLIENT], clients[SERVER]) == ("waybill:x", None)
    server = server_environment(
        home=tmp_path, prefect_database_url="postgresql://", host="127.0.0.1", port=4200, credential="waybill:x"
    )
    assert (server[CLIENT], server[SERVER]) == ("waybill:x", "waybill:x")


def test_a_server_of_the_user_s_keeps_the_user_s_credential(tmp_path: Path) -> None:
    found = client_environment(
        database_url="postgresql://", home=tmp_path, api_url="http://127.0.0.1:1/api", own_credential=None,
    )  # fmt: skip
    assert {CLIENT, SERVER}.isdisjoint(found)


def test_the_server_s_origins_are_its_own_and_those_that_the_operator_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "http://127.0.0.1:4200,http://localhost:4200,http://[::1]:4200"
    for given, more in (("", ""), ("*", ""), ("*, https://ui.example.org/", ",https://ui.example.org")):
        monkeypatch.setenv("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", given)
        server = server_environment(
            home=tmp_path, prefect_database_url="postgresql://", host="127.0.0.1", port=4200, credential="waybill:x"
        )
        # Both of Prefect's names for it, so that none is read that says something else.
        for name in ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"):
            assert server[name] == own + more
