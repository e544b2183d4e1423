"""The command line, the local stack and the HTTP gateway. May import every layer below: flows, tasks, blocks.

`commands` read arguments and print; `services` do what commands and gateway share, without a user interface; `gateway`
answers HTTP; `stack` starts and stops Postgres and Prefect for a home; `process` holds the programs that `waybill up`
keeps running. Start reading in `cli`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return ``__version__``; looking it up takes as long as starting Python, so it waits until something asks."""
    if name == "__version__":
        from importlib.metadata import version

        return version("waybill")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
