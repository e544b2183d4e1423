"""Work pools of Prefect, by name."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from blocks.errors import InvalidOptions

# Names that Prefect refuses itself; in a path they would be another one.
_IN_NO_NAME = frozenset("/%&<>?#")


async def check_pool(client: PrefectClient, pool: str) -> None:
    """Raise `InvalidOptions` when there is no such pool, and what *client* raises."""
    try:
        if not pool or not pool.isprintable() or not _IN_NO_NAME.isdisjoint(pool):
            raise InvalidOptions(
                f"there is no work pool {pool[:80]!a}: a name has none of {' '.join(sorted(_IN_NO_NAME))}"
            )
        await client.read_work_pool(pool)
    except ObjectNotFound:
        raise InvalidOptions(
            f"Prefect has no work pool {pool!r}: make it with 'prefect work-pool create {pool} --type process', and "
            f"start workers with 'prefect worker start --pool {pool} --limit 1'"
        ) from None
