"""Whether a machine that takes a slice keeps files where the run keeps them.

A worker of Prefect runs a slice in a temporary folder. Without settings of its own the home, and with it the storage,
would be there, and gone with it; another machine would look for the files in vain.
"""

from __future__ import annotations

from blocks.custody import Custody
from blocks.errors import BlobMissing, InvalidSettings
from blocks.redaction import without_password
from blocks.settings import Settings

# One may be damaged, or be removed at this moment.
_LOOKED_FOR = 3


def check_settings(settings: Settings) -> None:
    """Raise `InvalidSettings` where neither a storage nor a home is named that exists: that of the run does."""
    if settings.storage_url is None and not settings.home.is_dir():
        raise InvalidSettings(
            f"this worker would keep files in a new home, {settings.home}: name the storage of the run with "
            "WAYBILL_STORAGE_URL, or its home with WAYBILL_HOME"
        )


async def check_storage(custody: Custody, settings: Settings) -> None:
    """Raise `InvalidSettings` when the storage has none of the newest files of the catalogue."""
    async with custody.catalog.connection() as connection:
        page = await custody.catalog.list_artifacts(connection, limit=_LOOKED_FOR)
    for artifact in page.artifacts:
        try:
            await custody.in_storage(lambda _, path=artifact.location: custody.backend.size(path))
        except BlobMissing:
            continue
        return
    if page.artifacts:
        shown = without_password(settings.resolved_storage_url)
        raise InvalidSettings(
            f"the storage of this worker, {shown}, has none of the newest files of the catalogue: WAYBILL_STORAGE_URL, "
            "or WAYBILL_HOME, must name that of the run"
        )
