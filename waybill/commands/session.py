"""What commands run in: the stack for as long as they need it, and the catalogue or custody on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from blocks.errors import InvalidSettings
from blocks.settings import Settings, current_settings, home_above, unknown_variables
from waybill.commands.output import print_notice, steps_shown

if TYPE_CHECKING:
    from blocks.catalog import Catalog, Connection
    from blocks.custody import Custody
    from blocks.runs.prefect_api import PrefectApi
    from waybill.stack import StackAddresses

ResultT = TypeVar("ResultT")


@contextmanager
def stack_session(*, prefect: bool, makes_home: bool = False) -> Generator[tuple[Settings, StackAddresses]]:
    """Use Postgres and, with *prefect*, a Prefect server: running ones, or ones started and stopped by this command.

    One of them that dies meanwhile is started again. Yields the settings after the stack has set its addresses. Raises
    `InvalidSettings` where there is no home, unless the command *makes_home*.
    """
    from waybill.stack import running_stack

    report_surroundings()
    if not makes_home:
        _require_home(current_settings())
    with ExitStack() as until_done:
        with steps_shown() as show:
            stack = running_stack(current_settings(), prefect=prefect, on_step=show, on_repair=print_notice)
            addresses = until_done.enter_context(stack)
        yield current_settings(), addresses


def report_surroundings() -> None:
    """Print what a person may not expect: which home is used if it is not here, and variables that are no settings."""
    for name, meant in unknown_variables().items():
        print_notice(f"warning: {name} is not a setting and is ignored; did you mean {meant}?")
    if (home := home_above()) is not None:
        print_notice(f"using the home {home}")


def _require_home(settings: Settings) -> None:
    """Refuse to read what is not there: a new home would be empty, and show nothing of what was meant."""
    if settings.database_url is not None or (settings.home.is_dir() and any(settings.home.iterdir())):
        return
    raise InvalidSettings(
        f"there is no Waybill home at {settings.home}; go to the folder that has it, or name it: WAYBILL_HOME. "
        "'waybill process' and 'waybill up' make one"
    )


def warn_of_lost_records(api_url: str | None) -> None:
    """Warn when the Prefect server that the user has named at *api_url* is set up so that it can lose records."""
    from waybill.stack.external import lost_records_warning

    if api_url is None:
        return
    warning = lost_records_warning(api_url, within_seconds=current_settings().answer_seconds)
    if warning is not None:
        print_notice(warning)


def report_new_key(path: Path) -> None:
    """Print that a storage key was made, and that a copy of it is needed."""
    print_notice(
        f"made the storage key {path}: stored files are encrypted for it. Keep a copy of it elsewhere; without it "
        "nothing that is stored can be read."
    )


async def warn_of_foreign_files(custody: Custody, settings: Settings) -> None:
    """Warn when the storage key opens none of the encrypted files: it may be the key of another home."""
    from blocks.custody.lost_key import foreign_files

    count = await foreign_files(custody)
    if count:
        print_notice(
            f"warning: the storage key {settings.resolved_storage_identity_file} opens none of the {count:,} encrypted "
            "files; if it belongs to another home, put the right file there"
        )


def run_work(work: Coroutine[None, None, ResultT]) -> ResultT:
    """Like `asyncio.run`, but an interruption requests a shutdown of this process before *work* is cancelled.

    Calls to remote services that are under way then end soon.
    """
    from blocks.runtime.shutdown import request_shutdown

    async def watched() -> ResultT:
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError:
            request_shutdown()
            working.cancel()
            await asyncio.wait([working])
            if working.cancelled():
                raise
        return working.result()

    return asyncio.run(watched())


def with_custody(
    work: Callable[[Custody, Settings], Coroutine[None, None, ResultT]],
    *,
    stores: bool = False,
    makes_home: bool = False,
    reaches_storage: bool = False,
) -> ResultT:
    """Run *work* on catalogue and storage, on a stack without Prefect.

    Only with *stores* can it store files and make a home, and is a missing storage key an error or, in a new home,
    created. With *stores* or *reaches_storage*, a storage that does not answer is reported before anything is started.
    """
    if stores or reaches_storage:
        from waybill.services.storage_probe import check_storage_answers

        check_storage_answers(current_settings())

    async def run(settings: Settings) -> ResultT:
        from blocks.open_custody import open_custody

        async with open_custody(settings, stores=stores, on_new_key=report_new_key) as custody:
            if stores:
                await warn_of_foreign_files(custody, settings)
            return await work(custody, settings)

    with stack_session(prefect=False, makes_home=stores or makes_home) as (settings, _):
        return run_work(run(settings))


def with_prefect(work: Callable[[Settings, Catalog, PrefectApi], Coroutine[None, None, ResultT]]) -> ResultT:
    """Run *work* on the catalogue and on Prefect: running servers, or ones that this command starts."""

    async def run(settings: Settings, api_url: str | None) -> ResultT:
        from blocks.catalog import Catalog
        from blocks.runs.prefect_api import PrefectApi

        async with Catalog.open(settings.required_database_url) as catalog, PrefectApi.open(api_url) as prefect:
            return await work(settings, catalog, prefect)

    with stack_session(prefect=True) as (settings, addresses):
        return asyncio.run(run(settings, addresses.prefect_api_url))


def with_transaction(
    work: Callable[[Connection], Coroutine[None, None, ResultT]], *, makes_home: bool = False
) -> ResultT:
    """Run *work* in one transaction of the catalogue, on a stack without Prefect."""

    async def run(catalog: Catalog, _: Settings) -> ResultT:
        async with catalog.transaction() as connection:
            return await work(connection)

    return with_catalog(run, makes_home=makes_home)


def with_catalog(
    work: Callable[[Catalog, Settings], Coroutine[None, None, ResultT]], *, makes_home: bool = False
) -> ResultT:
    """Run *work* on the catalogue alone, on a stack without Prefect. Opens neither the storage nor its keys."""

    async def run(settings: Settings) -> ResultT:
        from blocks.catalog import Catalog

        async with Catalog.open(settings.required_database_url) as catalog:
            return await work(catalog, settings)

    with stack_session(prefect=False, makes_home=makes_home) as (settings, _):
        return asyncio.run(run(settings))
