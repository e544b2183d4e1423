"""A call to a Prefect server that is being started again."""

from __future__ import annotations

import httpx
import pytest

from blocks.runs import prefect_api
from blocks.runs.prefect_api import while_server_restarts


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_api, "_RESTART_PAUSE_SECONDS", 0.0)


async def test_a_call_is_repeated_until_the_server_listens() -> None:
    tries = 0

    async def call() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise httpx.ConnectError("connection refused")
        return "answer"

    assert await while_server_restarts(call) == "answer"
    assert tries == 3


async def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_api, "_RESTART_SECONDS", 0.0)

    async def call() -> None:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(httpx.ConnectError):
        await while_server_restarts(call)


async def test_an_answer_that_breaks_off_is_no_restart() -> None:
    tries = 0

    async def call() -> None:
        nonlocal tries
        tries += 1
        raise httpx.ReadError("the request may have been carried out")

    with pytest.raises(httpx.ReadError):
        await while_server_restarts(call)
    assert tries == 1
