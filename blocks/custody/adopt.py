"""Make a reserved file available whose bytes came to its place by another way than `Custody.fill`."""

from __future__ import annotations

from blocks.catalog import Artifact, Draft, Reservation, Stored
from blocks.custody.custody import Custody, MakeAvailable
from blocks.runtime.threads import in_thread


async def adopt(
    custody: Custody,
    reservation: Reservation,
    stored: Stored,
    *,
    draft: Draft,
    make_available: MakeAvailable | None = None,
) -> Artifact:
    """Make the file available, with its manifest, as *stored* and *draft* describe it.

    The caller has verified the bytes, and undoes nothing after an error: it calls again, or removes the file with
    `Custody.give_up_pending`. Raises `ArtifactNotFound` when the reservation is gone, `StorageUnavailable`,
    `CatalogUnavailable`, and what *make_available* raises.
    """
    artifact = reservation.filled(draft, stored, await custody.catalog.now())
    await in_thread(lambda _: custody.publish_manifest(artifact, replace=True))
    return await (make_available or custody.make_available)(artifact)
