"""The gateway looks where flows put things: a block named ``waybill`` in Prefect wins over the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.age import X25519Identity
from blocks.errors import InvalidSettings, NoMatchingIdentity, PrefectUnavailable, StackUnavailable
from blocks.keys.block import KeyPair
from blocks.open_custody import open_deployed_custody
from blocks.postgres.pool import LONG_TIMEOUTS
from blocks.prefect_blocks import BLOCK_NAME
from blocks.runs.prefect_api import PrefectApi
from blocks.settings import Settings
from blocks.storage.block import ArtifactStore
from tests.integration.custody_place import draft
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH
from waybill.stack.external import check_prefect_api

pytestmark = PREFECT_ALONE


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, storage_url=str(tmp_path / "of-the-environment"))  # type: ignore[arg-type]


async def locate(settings: Settings) -> str:
    async with open_deployed_custody(settings, LONG_TIMEOUTS) as custody:
        return custody.locate(await custody.take(draft(), b"content"))


async def test_a_block_of_this_name_wins_over_the_environment(
    settings: Settings, prefect_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    await ArtifactStore(url=str(tmp_path / "of-the-block")).asave(BLOCK_NAME, overwrite=True)
    try:
        assert (await locate(settings)).startswith(str(tmp_path / "of-the-block"))
    finally:
        await ArtifactStore.adelete(BLOCK_NAME)
    assert (await locate(settings)).startswith(str(tmp_path / "of-the-environment"))


async def test_the_keys_of_a_block_stay_when_a_file_needs_another_one(
    settings: Settings, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment holds is not looked at, and no key is made for it: nobody else would have that one."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    recipient = X25519Identity.generate().recipient.text
    await KeyPair(recipient=recipient).asave(BLOCK_NAME, overwrite=True)
    try:
        async with open_deployed_custody(settings, LONG_TIMEOUTS) as custody:
            unreadable = await custody.take(draft(), b"for somebody else")
            with pytest.raises(NoMatchingIdentity):
                await custody.read(unreadable)
            assert (await custody.take(draft(), b"another")).encrypted_for == recipient
    finally:
        await KeyPair.adelete(BLOCK_NAME)
    assert not settings.resolved_storage_identity_file.exists()


async def test_without_a_prefect_server_the_environment_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert (await locate(settings)).startswith(str(tmp_path / "of-the-environment"))


async def test_a_server_that_refuses_the_credentials_is_named_as_such(
    settings: Settings, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    for credential in (None, "waybill:another"):
        with temporary_settings({PREFECT_API_AUTH_STRING: credential}):
            with pytest.raises(PrefectUnavailable, match="refuses the credentials; PREFECT_API_AUTH_STRING"):
                await locate(settings)
            async with PrefectApi.open(prefect_server) as prefect:
                with pytest.raises(PrefectUnavailable, match="refuses the credentials; PREFECT_API_AUTH_STRING"):
                    async with prefect.client() as client:
                        await client.read_flows(limit=1)


def test_credentials_of_the_environment_are_tried_and_else_those_of_the_profile(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    # The fixture has put them where Prefect keeps what it has read from a profile.
    check_prefect_api(prefect_server, within_seconds=PATIENCE_SECONDS)
    with temporary_settings({PREFECT_API_AUTH_STRING: None}):
        with pytest.raises(StackUnavailable, match="asks for credentials: set PREFECT_API_AUTH_STRING"):
            check_prefect_api(prefect_server, within_seconds=PATIENCE_SECONDS)
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", PREFECT_AUTH)
        check_prefect_api(prefect_server, within_seconds=PATIENCE_SECONDS)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "waybill:another")
    with pytest.raises(StackUnavailable, match="refuses the credentials: set PREFECT_API_AUTH_STRING") as refused:
        check_prefect_api(prefect_server, within_seconds=PATIENCE_SECONDS)
    assert "waybill:another" not in str(refused.value)


async def test_a_server_that_does_not_answer_is_no_reason_to_look_elsewhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(PrefectUnavailable, match="PREFECT_API_URL"),
    ):
        await locate(settings)


async def test_a_block_that_cannot_be_read_is_named_and_not_taken_for_a_missing_one(
    settings: Settings, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it files would be stored in another place, or for another key."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    # Not validated: any client of Prefect's API may write a block without its fields.
    block_id = await ArtifactStore(url=str(settings.home)).asave(BLOCK_NAME, overwrite=True)
    async with get_client() as client:
        odd = BlockDocumentUpdate(data={"url": 7}, merge_existing_data=False)
        await client.update_block_document(block_id, odd)
    try:
        with pytest.raises(InvalidSettings, match=f"artifact-store/{BLOCK_NAME}"):
            await locate(settings)
    finally:
        await ArtifactStore.adelete(BLOCK_NAME)
    await locate(settings)
