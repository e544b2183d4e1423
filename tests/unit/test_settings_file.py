"""``waybill.toml``: what it may say, what wins over it, and how its errors are told."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InvalidSettings
from blocks.settings import Settings, absolute_paths
from blocks.settings.settings import DEFAULT_WEBHOOK_SCHEDULE, load_settings, setting_names, settings_file
from blocks.settings.settings_file import PATHS
from waybill.stack.environment import client_environment

SECRET = "xK9-do-not-print"
EVERYTHING = """
home = "data"
database_url = "postgresql://waybill:word@db.example.org/waybill"
storage_url = "s3://bucket/prefix"
storage_options = { key = "me", client_kwargs = { endpoint_url = "http://127.0.0.1:9000" } }
answer_seconds = 8
encrypt = false
storage_recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
storage_identity_file = "keys/identity"
passphrase = "three words"
link_keys_file = "/etc/waybill/link-keys"
public_url = "https://files.example.org"
presigned_redirects = true
requests_per_minute = 60
max_upload_mib = 100
allowed_types = ["application/pdf", "image/*"]
cors_origins = ["https://app.example.org"]
allowed_sources = ["letters", "/srv/scans", "~/inbox", "s3://bucket/prefix", "https://docs.example.org:8443"]
allow_private_webhooks = ["loopback", "10.0.0.0/8"]
webhook_identity_file = "~/webhook-identity"
webhook_schedule = [0, "5s", "5m"]
webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
webhook_drain_seconds = 0.5
shard_size = 10
shards_at_once = 1
slice_size = 100
slices_at_once = 4
language_model_limit = "models"
storage_limit = "buckets"
dask = "tcp://127.0.0.1:8786"
ingest_window_seconds = 0.5
workers = 3
worker_home = "~/worker"
stage_timeout_seconds = 30
stage_silence_seconds = 30
stage_memory_mib = 256
max_file_mib = 5
extra_stages = ["package.module:STAGE"]
run_on = { chunker = "gpu-pool" }
retention_days = 7
retention = { upload = "90d", export = "1h", keep_newest = 3 }
export_storage_path = "out"
export_storage_options = { key = "other" }
export_databases = { sales = "postgresql://reader:word@db.example.org/sales" }
export_query_seconds = 60
export_max_rows = 1000
export_now_rows = 0
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a file, and an environment without settings."""
    for name in os.environ:
        if name.upper().startswith("WAYBILL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "waybill.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal() -> str:
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    # What a log with a traceback would hold, too.
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    return caught.value.message


# What it may say ------------------------------------------------------------------------------------------------------


def test_without_a_file_there_are_defaults(here: Path) -> None:
    assert settings_file() is None
    assert load_settings() == Settings()
    assert load_settings().home == here / ".waybill", "processes in other folders must find the same home"
    assert load_settings().webhook_schedule == DEFAULT_WEBHOOK_SCHEDULE


def test_every_setting_can_stand_in_the_file(here: Path) -> None:
    write(here, EVERYTHING)
    found = load_settings()
    assert found.given == set(setting_names())
    assert found.home == here / "data"
    assert found.database_url is not None
    assert found.database_url.reveal() == "postgresql://waybill:word@db.example.org/waybill"
    assert found.storage_options == {"key": "me", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}}
    assert (found.encrypt, found.presigned_redirects) == (False, True)
    assert found.export_storage_path == str(here / "out")
    assert found.export_databases["sales"].reveal() == "postgresql://reader:word@db.example.org/sales"
    assert "reader:word" not in repr(found)
    assert found.allowed_types == ("application/pdf", "image/*")
    assert found.allowed_sources == (
        str(here / "letters"), "/srv/scans", "~/inbox", "s3://bucket/prefix", "https://docs.example.org:8443",
    )  # fmt: skip
    assert found.run_on == {"chunker": "gpu-pool"}
    assert found.allow_private_webhooks == (ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.0/8"))
    assert found.webhook_schedule == (timedelta(0), timedelta(seconds=5), timedelta(minutes=5))
    assert (found.workers, found.webhook_drain_seconds, found.answer_seconds, found.retention_days) == (3, 0.5, 8, 7)
    assert found.retention.period("stage_output") == timedelta(days=7), "the kind has no period of its own"
    assert found.retention.period("upload") == timedelta(days=90)
    assert found.retention.period("export") == timedelta(hours=1)
    assert (found.retention.period("failed"), found.retention.period("audit")) == (
        timedelta(hours=1),
        timedelta(days=365),
    )
    assert found.retention.rules == {"keep_newest": 3}


@pytest.mark.parametrize(
    "value", ["letters", "/srv/letters,inbox", "https://", "s3:///prefix", "/srv/*", "simplecache::/srv", "file://srv"]
)
def test_allowed_sources_that_could_mean_something_else_are_refused(here: Path, value: str) -> None:
    with pytest.raises(InvalidSettings, match="allowed_sources: write"):
        Settings(allowed_sources=value)  # pyright: ignore[reportArgumentType]


def test_no_allowed_sources_at_all_is_not_the_same_as_none_named(here: Path) -> None:
    write(here, "allowed_sources = []")
    assert load_settings().allowed_sources == ()
    assert Settings().allowed_sources is None


def test_the_file_takes_what_a_variable_takes_too(here: Path) -> None:
    write(here, 'webhook_schedule = "0,5s"\nallow_private_webhooks = "off"\nallowed_types = "a/b, c/d"\nworkers = "3"\n'
          'storage_options = \'{"key": "me"}\'\nencrypt = "no"\n')  # fmt: skip
    found = load_settings()
    assert found.webhook_schedule == (timedelta(0), timedelta(seconds=5))
    assert found.allowed_types == ("a/b", "c/d")
    assert (found.allow_private_webhooks, found.workers, found.storage_options, found.encrypt) == (
        (), 3, {"key": "me"}, False,
    )  # fmt: skip


@pytest.mark.parametrize(("text", "count"), [("true", 2), ("false", 0), ("[]", 0), ('"on"', 2)])
def test_private_networks_can_be_a_switch(here: Path, text: str, count: int) -> None:
    write(here, f"allow_private_webhooks = {text}")
    assert len(load_settings().allow_private_webhooks) == count
    assert "allow_private_webhooks" in load_settings().given


def test_an_empty_text_says_nothing(here: Path) -> None:
    write(here, 'home = ""\npublic_url = ""\nstorage_url = ""\n')
    assert load_settings().given == set()


def test_a_byte_order_mark_and_line_ends_of_windows_do_no_harm(here: Path) -> None:
    write(here, b"\xef\xbb\xbfworkers = 3\r\nshard_size = 4\r\n")
    assert (load_settings().workers, load_settings().shard_size) == (3, 4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("200", 200),
        (" +2_00\t", 200),
        ("0200.00", 200),
        ("9007199254740993", 9007199254740993),
        ("1" + "0" * 30, 10**30),
    ],
)
def test_an_integer_is_read_exactly(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    monkeypatch.setenv("WAYBILL_REQUESTS_PER_MINUTE", text)
    assert load_settings().requests_per_minute == number


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("requests_per_minute", text) for text in ("1e2", "200.", "200.5", "2__0", "0x20", "五", "５")),
        *(("requests_per_minute", text) for text in ("127.99999999999999999", "1" + "0" * 5000)),
        *(("stage_timeout_seconds", text) for text in ("５", "nan", "1,5", "0", "-inf")),
        *(("encrypt", text) for text in (" on", "off ", "1.0", "enabled")),
    ],
)  # fmt: skip
def test_what_only_resembles_a_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"WAYBILL_{name.upper()}", text)
    assert refusal().startswith(f"settings that cannot be used: WAYBILL_{name.upper()}: write a ")


def test_only_a_setting_without_a_default_may_be_none() -> None:
    assert Settings(storage_url=None).storage_url is None
    for name in ("home", "encrypt", "workers", "webhook_schedule"):
        given: dict[str, Any] = {name: None}
        with pytest.raises(InvalidSettings, match=name):
            Settings(**given)


def test_a_schedule_in_the_file_may_mix_numbers_and_texts(here: Path) -> None:
    write(here, 'webhook_schedule = [0, "5s, 6s", 0.5]')
    assert [pause.total_seconds() for pause in load_settings().webhook_schedule] == [0, 5, 6, 0.5]


@pytest.mark.parametrize("pause", ["99999999999999", "999999999999999999999999", "1e20", "-1e20"])
def test_a_pause_that_no_calendar_holds_is_refused(here: Path, pause: str) -> None:
    write(here, f"webhook_schedule = [0, {pause}]")
    assert refusal().endswith("write the pause before each attempt, such as 0,5s,5m,2h")


# Where it is, and what is relative to it ------------------------------------------------------------------------------


def test_paths_in_the_file_are_relative_to_the_file_and_those_in_variables_to_the_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here / "etc", "\n".join(f'{name} = "a/{name}"' for name in (*PATHS, "storage_url")))
    monkeypatch.setenv("WAYBILL_CONFIG", "etc/waybill.toml")
    monkeypatch.setenv("WAYBILL_HOME", "elsewhere")
    found = load_settings()
    assert found.home == here / "elsewhere"
    for name in (*PATHS[1:], "storage_url"):
        assert str(getattr(found, name)) == str(here / "etc" / "a" / name)
    write(here / "etc", 'home = "/srv/waybill"\nlink_keys_file = "~/keys"\nstorage_url = "memory://x"\n')
    monkeypatch.delenv("WAYBILL_HOME")
    found = load_settings()
    assert (found.home, found.storage_url) == (Path("/srv/waybill"), "memory://x")
    assert found.link_keys_file == Path.home() / "keys"


def test_the_home_that_nothing_names_is_an_absolute_path_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres' own tools, which run in another folder, could not create a relative one."""
    monkeypatch.delenv("WAYBILL_HOME", raising=False)
    assert load_settings().home == here / ".waybill"


def test_every_setting_that_is_a_path_is_one_of_the_file() -> None:
    paths = {one.name for one in fields(Settings) if "Path" in str(one.type)}
    assert paths == set(PATHS)


def test_a_file_that_is_named_is_read_and_not_the_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "workers = 1")
    named = write(here / "etc", "workers = 2", "other.toml")
    assert load_settings().workers == 1
    monkeypatch.setenv("WAYBILL_CONFIG", str(named))
    assert (settings_file(), load_settings().workers) == (named, 2)
    monkeypatch.setenv("WAYBILL_CONFIG", os.devnull)
    assert load_settings().given == set()
    monkeypatch.setenv("WAYBILL_CONFIG", "")
    assert load_settings().workers == 1


def test_children_in_other_folders_read_the_same_file_or_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def children() -> dict[str, str]:
        found = client_environment(database_url="postgresql://", home=here, api_url=None, own_credential=None)
        return {name: str(value) for name, value in found.items() if name.startswith("WAYBILL_CONFIG")}

    def read_by_a_child(environment: dict[str, str]) -> str:
        child = subprocess.run(
            [sys.executable, "-c", "from blocks.settings import load_settings; s = load_settings(); "
             "print(s.workers if s.given else None)"],
            cwd=elsewhere, env={"PYTHONPATH": str(Path(__file__).parents[2]), **environment},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return child.stdout.strip()

    elsewhere = here / "project"
    write(elsewhere, "workers = 7")
    without = children()
    assert read_by_a_child(without) == "None"
    write(here, "workers = 5")
    assert read_by_a_child(children()) == "5"
    # Written after `waybill up` had started without a file: its next run reads it.
    assert read_by_a_child(without) == "5"
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("WAYBILL_CONFIG_FOLDER", str(here))
    assert children() == {"WAYBILL_CONFIG": str(here / "waybill.toml")}, "a child's own children read the same one"
    (here / "waybill.toml").unlink()
    assert children() == {"WAYBILL_CONFIG_FOLDER": str(here)}
    monkeypatch.chdir(here)
    for name in ("waybill.toml", os.devnull):
        monkeypatch.setenv("WAYBILL_CONFIG", name)
        assert children() == {"WAYBILL_CONFIG": str(here / name)}


def test_a_stack_of_our_own_does_not_say_where_webhooks_may_go(here: Path) -> None:
    assert "WAYBILL_ALLOW_PRIVATE_WEBHOOKS" not in client_environment(
        database_url="postgresql://", home=here, api_url=None, own_credential="waybill:x"
    )


# What wins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["WAYBILL_WORKERS", "waybill_workers"])
def test_the_environment_wins_unless_it_is_empty(here: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    write(here, "workers = 3\nshard_size = 5")
    monkeypatch.setenv(variable, "4")
    assert (load_settings().workers, load_settings().shard_size) == (4, 5)
    monkeypatch.setenv(variable, "")
    assert load_settings().workers == 3


def test_options_are_replaced_and_not_mixed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, '[storage_options]\nkey = "mine"\nsecret = "mine"\n')
    monkeypatch.setenv("WAYBILL_STORAGE_OPTIONS", '{"key": "theirs"}')
    assert load_settings().storage_options == {"key": "theirs"}


def test_a_wrong_value_that_a_variable_replaces_does_no_harm(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "workers = 0")
    monkeypatch.setenv("WAYBILL_WORKERS", "1")
    assert load_settings().workers == 1


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "key", "why"),
    [
        ("retention_day = 3", "retention_day", "did you mean retention_days?"),
        ("WAYBILL_HOME = 'x'", "WAYBILL_HOME", "did you mean home?"),
        ("Workers = 3", "Workers", "did you mean workers?"),
        ("link-keys-file = 'x'", "link-keys-file", "did you mean link_keys_file?"),
        (f"[waybill]\nhome = '{SECRET}'", "waybill", "in lower case"),
        (f"[webhooks]\nsecret = '{SECRET}'", "webhooks", ""),
        ("config = 'x'", "config", ""),
        ("workers = 0", "workers", "greater than or equal to 1"),
        (f"workers = '{SECRET}'", "workers", "valid integer"),
        ("workers = true", "workers", "no switch"),
        ("workers = 1.5", "workers", "integer"),
        ("webhook_drain_seconds = nan", "webhook_drain_seconds", "valid number"),
        ("stage_timeout_seconds = inf", "stage_timeout_seconds", "valid number"),
        ("home = 3", "home", "path"),
        ("home = ['a']", "home", "path"),
        ("home = true", "home", "no switch"),
        ("home = 'a\\\\u0000b'".replace("'", '"').replace("\\\\", "\\"), "home", "U+0000"),
        ("home = '~nobody-of-this-name/x'", "home", "no such account"),
        ("home = 2026-11-21", "home", "date"),
        (f"encrypt = '{SECRET}'", "encrypt", "boolean"),
        (f"[retention]\nexport = '{SECRET}'", "retention", "period of export"),
        ("[retention]\nexport = '0s'", "retention", "such as 90s"),
        ("[retention]\nupload = 90", "retention", "such as 90s"),
        ("[retention]\nexport = true", "retention", "such as 90s"),
        ("[retention]\nexport = 1e300", "retention", "such as 90s"),
        ("[retention]\nhistory = '9999999d'", "retention", "at most 365,000 days"),
        ("[retention]\nexports = '1h'", "retention", "did you mean export?"),
        ("retention = '30d'", "retention", "JSON object"),
        (f"storage_options = '{SECRET}'", "storage_options", "JSON object"),
        (f"storage_options = ['{SECRET}']", "storage_options", "JSON object"),
        (f"storage_options = '[\"{SECRET}\"]'", "storage_options", "JSON object"),
        ("[storage_options]\nsince = 2026-11-21T00:00:00Z", "storage_options", "date"),
        (f'[storage_options]\nsecret = "{SECRET}\\u0000"', "storage_options", "U+0000"),
        (f"database_url = ['{SECRET}']", "database_url", "string"),
        (f"webhook_schedule = '0,{SECRET}'", "webhook_schedule", "such as 0,5s,5m,2h"),
        ("webhook_schedule = []", "webhook_schedule", "1 to 100 attempts"),
        ("webhook_schedule = [-5]", "webhook_schedule", "below 0"),
        ("webhook_schedule = [0, -0.5]", "webhook_schedule", "below 0"),
        (f"webhook_schedule = [{', '.join(['1'] * 101)}]", "webhook_schedule", "1 to 100 attempts"),
        (f"allow_private_webhooks = ['{SECRET}']", "allow_private_webhooks", "loopback"),
        ("allow_private_webhooks = [10]", "allow_private_webhooks", "loopback"),
        (f"allowed_types = [['{SECRET}']]", "allowed_types", "string"),
        (f"extra_stages = {{ a = '{SECRET}' }}", "extra_stages", "list of strings"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_key_and_never_by_value(here: Path, line: str, key: str, why: str) -> None:
    path = write(here, f"{line}\n")
    told = refusal()
    assert str(path) in told and key in told and why in told, told
    assert "WAYBILL_WORKERS" not in told


@pytest.mark.parametrize(
    "content",
    [
        f"workers = {SECRET}",
        f"database_url = '{SECRET}",
        f"{SECRET}",
        f"passphrase = '{SECRET}'\nworkers 3",
        "workers = 1\nworkers = 2",
        b"passphrase = '\xff\xfe'",
        "a = " + "[" * 100_000,
        b"# " + b"x" * 1024 * 1024,
        b"\0",
    ],
)
def test_what_is_no_toml_is_told_without_its_content(here: Path, content: str | bytes) -> None:
    path = write(here, content)
    assert str(path) in refusal()


def test_a_line_is_named_where_it_is_wrong(here: Path) -> None:
    write(here, f"workers = 1\npassphrase = '{SECRET}'\nhome 3\n")
    assert "line 3, column 6" in refusal()


def test_a_file_that_cannot_be_read_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_CONFIG", "nowhere.toml")
    assert refusal() == f"there is no settings file {here}/nowhere.toml; WAYBILL_CONFIG names it"
    monkeypatch.setenv("WAYBILL_CONFIG", str(here))
    assert "Is a directory" in refusal()
    monkeypatch.delenv("WAYBILL_CONFIG")
    (here / "waybill.toml").symlink_to(here / "gone")
    assert str(here / "waybill.toml") in refusal()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORAGE_OPTIONS", f"{{{SECRET}"),
        ("STORAGE_OPTIONS", f'["{SECRET}"]'),
        ("WORKERS", SECRET),
        ("HOME", "~nobody-of-this-name"),
    ],
)
def test_a_wrong_variable_is_named_as_the_variable_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    write(here, "workers = 2\nshard_size = 0\n")
    monkeypatch.setenv(f"WAYBILL_{name}", value)
    told = refusal()
    assert f"WAYBILL_{name}: " in told
    assert f"shard_size in {here}/waybill.toml: " in told


def test_all_that_is_wrong_is_told_at_once(here: Path) -> None:
    write(here, "workers = 0\nshard_size = 0\n")
    told = refusal()
    assert "workers in" in told and "shard_size in" in told
    write(here, "worker = 0\nshards = 0\n")
    told = refusal()
    assert "'worker'" in told and "'shards'" in told


def test_nothing_secret_shows_where_settings_are_printed(here: Path) -> None:
    lines: dict[str, Any] = {"database_url": SECRET, "passphrase": SECRET, "webhook_secret": SECRET}
    write(
        here,
        "\n".join(f'{name} = "{value}"' for name, value in lines.items()) + f'\nstorage_options = {{ a = "{SECRET}" }}',
    )
    assert SECRET not in repr(load_settings()) and SECRET not in str(load_settings())


def test_exports_go_where_either_name_says_and_the_own_name_wins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_STORAGE_PATH", "exports")
    assert load_settings().export_storage_path == "exports"
    assert absolute_paths(load_settings()) == {"WAYBILL_EXPORT_STORAGE_PATH": str(here / "exports")}
    monkeypatch.setenv("WAYBILL_EXPORT_STORAGE_PATH", "s3://bucket/exports")
    assert load_settings().export_storage_path == "s3://bucket/exports"


@pytest.mark.parametrize("given", ['{"a b": "postgresql:///x"}', '{"a": 1}', '{"a": ""}', '["a"]', "x"])
def test_what_names_no_database_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_EXPORT_DATABASES", given)
    assert "WAYBILL_EXPORT_DATABASES" in refusal()
