"""Checks of what the runs of all machines share: global concurrency limits of Prefect, and a Dask cluster."""

from __future__ import annotations

from prefect.exceptions import ObjectNotFound

from blocks.redaction import without_password
from blocks.runs.prefect_api import PrefectApi
from blocks.settings import Settings
from tasks.on_dask.runner import threads_of
from waybill.services.doctor.findings import Findings


async def check_shared_limits(prefect: PrefectApi, settings: Settings, found: Findings) -> None:
    """Examine the limits for the language model and the storage. One that does not exist bounds nothing."""
    with found.examining("shared-limits"):
        async with prefect.client() as client:
            for name, waiting in _limited(settings).items():
                try:
                    limit = await client.read_global_concurrency_limit_by_name(name)
                except ObjectNotFound:
                    continue
                if limit.active and limit.limit < 1:
                    remedy = f"raise it: prefect gcl update {name} --limit 16; or delete it: prefect gcl delete {name}"
                    found.problem("shared-limits", f"{name} has no slots, so {waiting} wait for one", remedy)


def _limited(settings: Settings) -> dict[str, str]:
    """Return the limits by name, with what waits for their slots; files in a folder are not limited."""
    limited = {settings.language_model_limit: "runs that ask the language model"}
    return limited | ({settings.storage_limit: "all runs"} if "://" in settings.resolved_storage_url else {})


async def check_dask(settings: Settings, found: Findings) -> None:
    """Examine whether the cluster of `WAYBILL_DASK` answers, and has workers."""
    if settings.dask is None:
        found.skip(["dask"], "WAYBILL_DASK is not set: stages run in processes of each run")
        return
    with found.examining("dask"):
        if not await threads_of(settings.dask):
            address = without_password(settings.dask)
            remedy = f"start some, on any machine: dask worker {address}"
            found.warning("dask", f"the cluster at {address} has no workers, so runs wait for one", remedy)
