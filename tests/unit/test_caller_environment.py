"""What of the caller's environment reaches the servers and processes of the stack, as the documentation says it."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from blocks.errors import PrefectUnavailable
from blocks.settings import Settings
from tests.hostile_environment import HOSTILE_ENVIRONMENT
from waybill.stack import external
from waybill.stack.caller_environment import (
    POSTGRES_KEPT,
    PREFECT_KEPT,
    PREFECT_SERVER_KEPT,
    PYTHON_KEPT,
    REMOVED,
    child_changes,
    postgres_environment,
    prefect_server_environment,
)
from waybill.stack.environment import client_environment, server_environment

GOOD = {"PATH": "/bin", "HOME": "/home/me", "LD_LIBRARY_PATH": "/lib", "PYTHONPATH": "/packages"}


def test_postgres_gets_what_it_needs_to_start_and_nothing_else() -> None:
    assert postgres_environment({**HOSTILE_ENVIRONMENT, **GOOD}) == {
        "PATH": "/bin",
        "LD_LIBRARY_PATH": "/lib",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def test_the_prefect_server_gets_no_hostile_variable() -> None:
    found = prefect_server_environment({**HOSTILE_ENVIRONMENT, **GOOD, "PREFECT_SERVER_SERVICES_X": "1"})
    hostile = {name for name, value in found.items() if HOSTILE_ENVIRONMENT.get(name) == value}
    assert hostile <= {"TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}
    assert found.items() >= {**GOOD, "PREFECT_SERVER_SERVICES_X": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"}.items()


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_loopback_is_never_reached_through_a_proxy_and_other_hosts_are(name: str) -> None:
    given = {name: "http://proxy.example:3128", "no_proxy": "intern.example, [::1]"}
    changes = child_changes(given, own_server=True)
    assert name not in changes
    assert changes["no_proxy"] == changes["NO_PROXY"] == "intern.example,::1,127.0.0.1,localhost"


@pytest.mark.parametrize("proxy", ["nonsense://x:y", "http://", "http://proxy:port", "socks4://127.0.0.1:9"])
def test_a_proxy_that_no_client_can_use_is_left_out(proxy: str) -> None:
    assert child_changes({"ALL_PROXY": proxy}, own_server=True)["ALL_PROXY"] is None


def test_prefects_client_starts_with_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    changes = client_environment(
        database_url="postgresql:///x", home=tmp_path, api_url="http://127.0.0.1:4200/api", own_credential="waybill:x",
    )  # fmt: skip
    for name, value in changes.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with httpx.Client() as client:
        through = {str(pattern.pattern): transport for pattern, transport in client._mounts.items()}
        assert [through[f"all://{host}"] for host in ("127.0.0.1", "localhost", "[::1]")] == [None, None, None]
    ours = server_environment(
        home=tmp_path, prefect_database_url="x", host="127.0.0.1", port=4200, credential="waybill:x"
    )
    for found in (changes, ours):
        assert found["PREFECT_HOME"] == str(tmp_path / "prefect")
        assert "of-another-server" not in found.values()


def test_a_server_that_the_user_has_named_keeps_the_users_settings_of_prefect() -> None:
    given = {"PREFECT_API_KEY": "mine", "PREFECT_PROFILE": "mine", "PYTHONWARNINGS": "error", "PYTHONPATH": "/packages"}
    assert child_changes(given, own_server=False) == {"PYTHONWARNINGS": None}


@pytest.mark.parametrize(
    ("api_url", "through_a_proxy"), [("http://127.0.0.1:4200/api", False), ("http://prefect.example/api", True)]
)
def test_a_named_server_on_this_machine_is_checked_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, api_url: str, through_a_proxy: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with external._client(api_url, external._in_environment(), 1.0) as client:
        assert bool(client._mounts) is through_a_proxy


async def test_a_prefect_server_that_fails_while_a_command_begins_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from waybill.services import register_blocks

    async def refuse() -> None:
        raise httpx.ProxyError("no")

    monkeypatch.setattr(register_blocks.ArtifactStore, "aregister_type_and_schema", refuse)
    with pytest.raises(PrefectUnavailable, match="ProxyError"):
        await register_blocks.register_blocks(Settings())


def test_certificates_that_can_be_read_stay(tmp_path: Path) -> None:
    import certifi

    given = {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": str(tmp_path)}
    assert child_changes(given, own_server=True) == {}


def test_low_soft_limits_and_a_strict_umask_do_not_last() -> None:
    program = (
        "import os, resource, sys, warnings\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "os.umask(0o777)\n"
        "from waybill.process.inherited_limits import make_inherited_limits_fit\n"
        "make_inherited_limits_fit()\n"
        "warnings.warn('no error')\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0],\n"
        "      oct(os.umask(0)), sys.warnoptions)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split(maxsplit=3)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(shown[0]) == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
    assert int(shown[1]) == resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    assert shown[2:] == ["0o77", "[]\n"]


def test_the_documentation_has_every_list_as_it_is() -> None:
    text = Path("docs/configuration.md").read_text()
    section = text.partition("## What Waybill takes from the environment")[2].partition("\n## ")[0]
    rows = {
        first.strip(): set(re.findall(r"`([^`]+)`", second))
        for first, second in re.findall(r"^\|([^|]*)\|([^|]*)\|$", section, re.MULTILINE)
    }
    assert rows["the embedded Postgres"] == set(POSTGRES_KEPT)
    assert rows["the Prefect server"] == set(PREFECT_SERVER_KEPT) - set(PREFECT_KEPT)
    assert rows["Prefect's variables"] == set(PREFECT_KEPT)
    assert rows["removed"] == set(REMOVED)
    assert rows["of Python, kept"] == set(PYTHON_KEPT)
