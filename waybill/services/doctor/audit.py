"""Run the checks that need servers, in order, on the database, the storage and, where one answers, Prefect."""

from __future__ import annotations

from blocks.age import parse_recipient
from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.errors import InvalidKey
from blocks.keys import StorageKeys, identities_of_its_own
from blocks.settings import Settings
from blocks.storage import open_backend
from waybill.services.doctor.backups import check_backups
from waybill.services.doctor.database import check_database
from waybill.services.doctor.findings import Findings
from waybill.services.doctor.home import HomeProcesses, check_home, check_key_files, check_processes, check_run_locks
from waybill.services.doctor.outbox import check_outbox, check_secrets
from waybill.services.doctor.stored_files import check_deeply, check_stored_files, check_stored_keys

_OF_PREFECT = ("slices", "deployment", "shared-limits", "runs", "run-events", "documents")


def audit_home(settings: Settings, processes: HomeProcesses, found: Findings) -> set[str]:
    """Examine what needs no server; return the ids of the runs that live."""
    check_home(settings, found)
    check_key_files(settings, found)
    check_processes(processes, found)
    return check_run_locks(settings, found)


async def audit_servers(
    settings: Settings,
    found: Findings,
    *,
    living_runs: set[str],
    prefect_api_url: str | None,
    is_shared: bool,
    dispatcher_is_running: bool,
    up_is_running: bool = False,
    deep: bool = False,
) -> None:
    """Examine database, storage and Prefect. *is_shared*: other machines may use them too.

    Raises `CatalogUnavailable` and `InvalidSettings` when the database cannot be opened at all.
    """
    async with Catalog.open(settings.required_database_url) as catalog:
        await check_database(catalog, found)
        custody = Custody(
            catalog=catalog,
            backend=open_backend(settings.resolved_storage_url, settings.storage_options),
            keys=_keys(settings, found),
        )
        await check_stored_keys(custody, found)
        await check_secrets(catalog, settings, found)
        unreadable = await check_stored_files(custody, found, living_runs=living_runs)
        if deep:
            await check_deeply(custody, found, reported=unreadable)
        await check_outbox(catalog, found, dispatcher_is_running=dispatcher_is_running, up_is_running=up_is_running)
        await check_backups(catalog, settings, found, up_is_running=up_is_running)
        # Imported here: it loads Prefect, whose settings the stack has put into the environment.
        from blocks.runs.prefect_api import PrefectApi
        from waybill.services.doctor.runs import check_deployment, check_output_locks, check_runs
        from waybill.services.doctor.shared import check_dask, check_shared_limits
        from waybill.services.doctor.slices import check_leases, check_slices

        await check_output_locks(catalog, found, living_runs=living_runs, is_shared=is_shared)
        await check_leases(catalog, found, living_runs=living_runs)
        await check_dask(settings, found)
        if prefect_api_url is None:
            found.skip(_OF_PREFECT, "no Prefect server answers; 'waybill up' runs one")
            return
        async with PrefectApi.open(prefect_api_url) as prefect:
            if up_is_running:
                await check_deployment(prefect, catalog, settings, found)
            else:
                found.skip(["deployment"], "'waybill up' serves it, and does not run")
            await check_slices(prefect, catalog, found)
            await check_shared_limits(prefect, settings, found)
            await check_runs(prefect, catalog, found, living_runs=living_runs, is_shared=is_shared)


def cannot_audit_servers(found: Findings, why: str, remedy: str) -> None:
    """Note that the database cannot be opened, so that nothing on it was examined."""
    found.examined.add("database")
    found.problem("database", why, remedy)


def _keys(settings: Settings, found: Findings) -> StorageKeys:
    """Return the keys that exist; none is made. A file that cannot be read is a finding of its own already."""
    identities = ()
    with found.examining("stored-keys"):
        identities = identities_of_its_own(settings.resolved_storage_identity_file, may_create=False)
    recipient = identities[0].recipient if identities else None
    if settings.storage_recipient is not None:
        try:
            recipient = parse_recipient(settings.storage_recipient.strip())
        except InvalidKey as error:
            found.problem("stored-keys", f"WAYBILL_STORAGE_RECIPIENT: {error.message}", "correct the setting")
    return StorageKeys(recipient=recipient, identities=identities)
