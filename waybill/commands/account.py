"""Who runs a command, for the audit log: the account on this machine."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.access import Actor


def this_account() -> Actor:
    """Whoever runs this process."""
    from blocks.access import Actor

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in containers, accounts are often numbers alone
        name = str(os.getuid())
    return Actor(actor=f"cli:{name}")
