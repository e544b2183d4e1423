"""The documentation leaves nothing out and names nothing that is not there: options, variables, formats, errors."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from blocks import errors
from blocks.settings import Settings
from blocks.settings.settings import setting_names
from docs.stage_tables import stages_with_a_table, with_current_tables
from tasks.registry import BUILT_IN

DOCS = Path("docs")
# Decided by the machine or by another variable; the page says so in words.
DESCRIBED_DEFAULTS = {
    "dask",
    "retention",
    "allowed_sources",
    "home", "database_url", "storage_url", "storage_recipient", "storage_identity_file", "passphrase", "link_keys_file",
    "workers", "extra_stages", "webhook_identity_file", "allow_private_webhooks", "webhook_schedule",
    "webhook_secret", "worker_home", "allowed_types", "cors_origins", "export_storage_path", "export_storage_options",
}  # fmt: skip


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def variable_rows() -> dict[str, str]:
    """Variable -> default, from the table of the configuration page."""
    rows = re.findall(r"^\| `(WAYBILL_\w+)` \| (.*?) \|", page("configuration.md"), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a variable is listed twice"
    return dict(rows)


def test_the_tables_of_the_stages_page_are_those_of_the_code() -> None:
    assert with_current_tables(page("stages.md")) == page("stages.md"), "run: .venv/bin/python docs/stage_tables.py"


def test_every_stage_has_its_options_on_the_page() -> None:
    assert stages_with_a_table(page("stages.md")) == [stage.name for stage in BUILT_IN]


def test_every_variable_is_documented_and_every_documented_variable_exists() -> None:
    assert list(variable_rows()) == [f"WAYBILL_{name.upper()}" for name in setting_names()]


@pytest.mark.parametrize("name", sorted(set(setting_names()) - DESCRIBED_DEFAULTS))
def test_the_documented_default_is_the_real_one(name: str) -> None:
    default = getattr(Settings(), name)
    shown = documented(name)
    if isinstance(default, str):
        assert shown == default
    else:
        assert float(default) == float(shown) if shown[0].isdigit() else json.loads(shown) == default


def test_every_test_that_the_documentation_names_exists() -> None:
    named = {
        (path, test)
        for page_path in DOCS.rglob("*.md")
        for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page_path.read_text(encoding="utf-8"))
    }
    assert len(named) >= 30
    missing = [
        f"{path}::{test}"
        for path, test in sorted(named)
        if not re.search(rf"^(async )?def {test}\(", Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_no_long_lived_resource_is_without_a_test() -> None:
    table = page("architecture.md").partition("## Long-lived resources")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    for row in rows:
        assert row[0].startswith("**") or "::test_" in row[-1] or row[-1] == "the same", row


def documented(name: str) -> str:
    return variable_rows()[f"WAYBILL_{name.upper()}"].strip("`")


def test_every_variable_that_any_page_names_exists() -> None:
    # It says where settings are, and is none itself.
    known = {f"WAYBILL_{name.upper()}" for name in setting_names()} | {"WAYBILL_CONFIG"}
    for path in (Path("README.md"), *DOCS.rglob("*.md")):
        named = set(re.findall(r"\bWAYBILL_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")))
        assert named <= known, f"{path} names {named - known}"


def test_every_error_type_is_documented() -> None:
    concrete = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.WaybillError)
    } - {"WaybillError", "Transient", "Permanent"}
    told = set(re.findall(r"`([A-Z]\w+)`", page("stages.md") + page("command-line.md")))
    assert concrete <= told, f"not documented: {concrete - told}"


@pytest.mark.parametrize("example", ["verify_webhook.py", "verify_webhook.mjs"])
def test_the_ways_to_verify_a_webhook_on_the_page_are_the_files_that_are_tested(example: str) -> None:
    assert f"\n{page(f'examples/{example}')}```\n" in page("webhooks.md")
