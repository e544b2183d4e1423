"""``waybill trim`` as a user types it, where Prefect's server does not take part."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import CommandLine
from tests.shared_servers import shared_prefect


def test_a_login_that_prefect_refuses_fails_the_command_and_it_says_what_was_done(
    on_postgres: CommandLine, run_folder: Path
) -> None:
    refused = on_postgres.with_environment(
        PREFECT_API_URL=shared_prefect(run_folder), PREFECT_API_AUTH_STRING="waybill:another"
    )
    for options, done, verb in (
        (["--dry-run"], "0 records would go\n", "counted"),
        ([], "0 records removed; database ", "trimmed"),
    ):
        ended = refused.run("trim", *options, expect=1)
        assert ended.stdout.startswith(done)
        assert f"waybill: Prefect's history was not {verb}, only that of the catalogue: " in ended.stderr
        assert "refuses the credentials: set PREFECT_API_AUTH_STRING" in ended.stderr
        view = refused.json("trim", *options, expect=1)
        assert view["complete"] is False and "refuses the credentials" in view["prefect"]


def test_a_prefect_server_that_is_away_fails_it_too(on_postgres: CommandLine) -> None:
    away = on_postgres.with_environment(PREFECT_API_URL="http://127.0.0.1:1/api")
    assert "cannot be reached" in away.run("trim", "--dry-run", expect=1).stderr
