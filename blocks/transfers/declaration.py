"""What a sender says of its upload before the first byte, and whether it fits what was agreed; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from blocks.errors import InvalidOptions, TooLarge, TransferConflict
from blocks.transfers.transfer import Transfer


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a sender says of its upload before the first byte: the bytes that it sends, and the content in them."""

    size: int
    sha256: str | None = None
    content_size: int | None = None
    content_sha256: str | None = None
    filename: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """What the bytes of one request hash to."""

    algorithm: Literal["md5", "sha1", "sha256"]
    digest: bytes


def check_declaration(transfer: Transfer, declared: Declaration, *, max_bytes: int, can_read: bool) -> None:
    """Refuse what does not fit what is known of the upload *transfer*.

    Where the gateway cannot read what is sealed for its storage (not *can_read*), the content must be declared. Raises
    `TooLarge`, `TransferConflict`, `InvalidOptions`.
    """
    if declared.size > max_bytes:
        raise TooLarge(f"an upload may have at most {max_bytes} bytes here", max_bytes=max_bytes)
    for name in ("size", "sha256", "content_size", "content_sha256"):
        before, now = getattr(transfer, name), getattr(declared, name)
        if before is not None and now is not None and before != now:
            raise TransferConflict(
                f"{name.replace('_', ' ')} of transfer {transfer.transfer_id} is {before}, not {now}",
                transfer_id=transfer.transfer_id,
            )
    has_size = declared.content_size is not None or transfer.content_size is not None
    if not can_read and not (has_size and (declared.content_sha256 or transfer.content_sha256)):
        raise InvalidOptions(
            "this machine cannot read what is sealed for the storage: declare size and sha256 of the content"
        )
