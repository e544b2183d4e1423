"""A new storage key is created only where no stored file needs a missing one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from blocks.catalog import Artifact
from blocks.errors import CatalogUnavailable, NoMatchingIdentity, StorageKeyMissing, WaybillError
from blocks.open_custody import open_custody
from blocks.postgres import connect
from blocks.settings import Settings
from blocks.settings.parsing import Secret
from tests.integration.custody_place import draft

CONTENT = b"A letter.\n"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(home=tmp_path / "home", database_url=Secret(database_url))


def identity(settings: Settings) -> Path:
    return settings.resolved_storage_identity_file


async def stored(settings: Settings) -> Artifact:
    async with open_custody(settings) as custody:
        return await custody.take(draft(), CONTENT)


async def refused(settings: Settings, kind: type[WaybillError] = StorageKeyMissing) -> str:
    with pytest.raises(kind) as caught:
        await stored(settings)
    assert not identity(settings).exists()
    return caught.value.message


def execute(settings: Settings, statement: str) -> None:
    with connect(settings.required_database_url, autocommit=True) as connection:
        connection.execute(statement.encode())


async def test_a_new_home_gets_a_key(settings: Settings) -> None:
    assert (await stored(settings)).encrypted_for is not None
    assert identity(settings).exists()


async def test_a_file_that_needs_the_missing_key_is_named_with_what_to_do(settings: Settings) -> None:
    artifact = await stored(settings)
    identity(settings).unlink()
    message = await refused(settings)
    for word in (str(identity(settings)), "1 stored files", str(artifact.encrypted_for), "backup", "--new"):
        assert word in message


async def test_a_deleted_file_says_that_there_was_a_key_before(settings: Settings) -> None:
    artifact = await stored(settings)
    async with open_custody(settings) as custody:
        await custody.remove(artifact.file_id)
    identity(settings).unlink()
    assert f"0 stored files are encrypted for {artifact.encrypted_for}" in await refused(settings)


async def test_an_empty_catalogue_leaves_the_storage_to_say_it(settings: Settings) -> None:
    await stored(settings)
    identity(settings).unlink()
    execute(settings, "delete from run_outputs")
    execute(settings, "delete from artifacts")
    assert "catalog rebuild" in await refused(settings)


async def test_files_that_are_not_encrypted_need_no_key(settings: Settings) -> None:
    plain = Settings(home=settings.home, database_url=settings.database_url, encrypt=False)
    assert (await stored(plain)).encrypted_for is None
    assert (await stored(settings)).encrypted_for is not None


async def test_without_a_catalogue_that_answers_no_key_is_made(settings: Settings) -> None:
    nowhere = Settings(home=settings.home, database_url=Secret("postgresql://waybill@127.0.0.1:1/none"))
    await refused(nowhere, CatalogUnavailable)


async def test_another_home_on_the_same_catalogue_makes_no_key_of_its_own(settings: Settings, tmp_path: Path) -> None:
    await stored(settings)
    other = Settings(home=tmp_path / "other", database_url=settings.database_url)
    await refused(other)
    assert not other.home.exists()


async def test_a_key_kept_elsewhere_on_purpose_stores(settings: Settings) -> None:
    artifact = await stored(settings)
    identity(settings).unlink()
    writer = Settings(home=settings.home, database_url=settings.database_url, storage_recipient=artifact.encrypted_for)
    assert (await stored(writer)).encrypted_for == artifact.encrypted_for
    assert not identity(settings).exists()


async def test_without_the_key_reading_says_what_it_lacks_and_nothing_is_stored(settings: Settings) -> None:
    artifact = await stored(settings)
    identity(settings).unlink()
    async with open_custody(settings, stores=False) as custody:
        assert not await custody.verify(artifact)
        with pytest.raises(NoMatchingIdentity):
            await custody.read(artifact)
        with pytest.raises(StorageKeyMissing, match="storage-identity is missing"):
            await custody.take(draft(), CONTENT)
        assert not custody.keys.are_off
        async with custody.catalog.transaction() as connection:
            assert (await custody.catalog.statistics(connection))["by_state"] == {"available": 1}
    assert not identity(settings).exists()


async def test_a_process_that_runs_notices_a_lost_key_when_it_needs_it(settings: Settings) -> None:
    artifact = await stored(settings)
    with contextlib.ExitStack() as until_done:
        kept = identity(settings).read_bytes()
        identity(settings).unlink()
        until_done.callback(identity(settings).write_bytes, kept)
        async with open_custody(settings, stores=False) as custody:
            with pytest.raises(NoMatchingIdentity):
                await custody.read(artifact)
            # The volume is mounted late: the next reader finds the key, without a restart.
            until_done.close()
            identity(settings).chmod(0o600)
            assert await custody.read(artifact) == CONTENT
