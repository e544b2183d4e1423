"""Who runs a command, for the audit log: the account on this machine."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from blocks.access import AuditEntry


class Account:
    """Whoever runs this process; an `Actor`."""

    def __init__(self) -> None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # in containers, accounts are often numbers alone
            name = str(os.getuid())
        self.actor = f"cli:{name}"

    def entry(
        self,
        action: str,
        *,
        file_id: UUID | None = None,
        run_id: UUID | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """What was done, for the audit log."""
        from blocks.access import AuditEntry

        return AuditEntry(action=action, actor=self.actor, file_id=file_id, run_id=run_id, detail=dict(detail or {}))
