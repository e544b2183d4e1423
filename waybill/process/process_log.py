"""The log of a kept process: what Waybill's own loggers say goes to stderr, whatever Prefect did to the root logger.

Importing Prefect gives the root logger a handler that drops everything below ERROR, and `logging.basicConfig` does
nothing to a root logger that has one. So the lines get a handler of their own, on the parent of our loggers.
"""

from __future__ import annotations

import logging

# All loggers of this project are below it.
LOGGER = "waybill"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr() -> None:
    """Write the lines of our loggers, from INFO on, to stderr, each once. Idempotent."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    ours = logging.getLogger(LOGGER)
    ours.handlers[:] = [handler]
    ours.setLevel(logging.INFO)
    # The root logger's handler would repeat the errors.
    ours.propagate = False
