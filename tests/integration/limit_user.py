"""A process that uses a global limit; a line for the begin and the end of each use, with the clock of the machine."""

from __future__ import annotations

import asyncio
import sys
import time
from uuid import uuid4

from blocks.runs.global_limit import GlobalLimit


async def main(name: str, uses: int, seconds: float) -> None:
    """Use *name* so many times for *seconds* each, all at once as far as it lets."""
    async with GlobalLimit.open(name, uuid4(), group=2, leases=4) as limit:

        async def one() -> None:
            async with limit.slots() as slots:
                assert slots == 1
                print(time.monotonic(), 1, flush=True)
                await asyncio.sleep(seconds)
                print(time.monotonic(), -1, flush=True)

        await asyncio.gather(*(one() for _ in range(uses)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
