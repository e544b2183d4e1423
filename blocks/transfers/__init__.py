"""Transfers: files handed to, or received from, machines that share nothing with this one.

`transfer` is one row, `rows` reads and writes it, `tokens` signs what a transfer's bearer may do. Import by name what
works on them: `prepare` makes them, `outgoing` has the bytes of a download, `progress` notes how far it is, `ending`
ends it with its event, and `expiry` ends those whose time is over. Promises that a token opens one transfer in one
direction, that what is over is refused by the database's clock, and that bytes are never decrypted on the way. Start
reading at `transfer`.
"""

from blocks.transfers.rows import (
    NewTransfer,
    Page,
    create_transfer,
    declare_upload,
    due_to_expire,
    end_transfer,
    get_transfer,
    is_in_grace,
    list_transfers,
    open_counts,
    record_progress,
    require_open,
    transfers_of_assignment,
    transfers_of_worker,
)
from blocks.transfers.tokens import TransferTokens
from blocks.transfers.transfer import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    RESUME_GRACE,
    STATES,
    Transfer,
    check_transfer_id,
)

__all__ = [
    "DEFAULT_LIFETIME",
    "MAX_LIFETIME",
    "RESUME_GRACE",
    "STATES",
    "NewTransfer",
    "Page",
    "Transfer",
    "TransferTokens",
    "check_transfer_id",
    "create_transfer",
    "declare_upload",
    "due_to_expire",
    "end_transfer",
    "get_transfer",
    "is_in_grace",
    "list_transfers",
    "open_counts",
    "record_progress",
    "require_open",
    "transfers_of_assignment",
    "transfers_of_worker",
]
