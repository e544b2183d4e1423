"""Forget what a text names: one document by its hash, or every content that a source has had."""

from __future__ import annotations

from typing import Any

from blocks.errors import InvalidOptions
from blocks.forgetting.document import find_documents
from blocks.forgetting.forget import Forgetter


async def forget_named(forgetter: Forgetter, text: str, *, force: bool, dry_run: bool) -> list[dict[str, Any]]:
    """Forget the documents that *text* names; return a certificate for each, or with *dry_run* what would go.

    A source that has had several contents is several documents: *force* forgets all of them. Raises `InvalidOptions`
    without it, `DocumentNotFound`, and like `Forgetter.forget`.
    """
    async with forgetter.custody.catalog.connection() as connection:
        found = await find_documents(connection, text)
    if dry_run:
        return [(await forgetter.look(sha256)).as_json() for sha256 in found]
    if len(found) > 1 and not force:
        raise InvalidOptions(
            f"{len(found)} documents have this source, with different contents: {', '.join(found)}; name one by its "
            "sha256, or forget all of them with --yes (force=true)"
        )
    return [(await forgetter.forget(sha256, force=force)).as_json() for sha256 in found]
