"""Forgetting documents, as command line and HTTP API do it. Checks no permissions."""

from __future__ import annotations

from typing import Any

from blocks.access import Actor
from blocks.custody import Custody
from blocks.errors import DocumentNotFound
from blocks.forgetting import Forgetter, find_documents, forget_named
from blocks.settings import Settings
from waybill.services.patient_custody import patient_custody


async def forget_documents(
    custody: Custody, settings: Settings, text: str, *, force: bool, dry_run: bool, by: Actor
) -> list[dict[str, Any]]:
    """Forget what *text* names, and return certificates; see `blocks.forgetting.forget_named`."""
    return await forget_named(Forgetter(custody=custody, settings=settings, by=by), text, force=force, dry_run=dry_run)


async def forget_content(
    custody: Custody, settings: Settings, sha256: str, *, force: bool, dry_run: bool, by: Actor
) -> dict[str, Any]:
    """Forget the document with exactly this content, on connections without a time limit. Raises like the former."""
    async with patient_custody(custody, settings) as patient:
        async with patient.catalog.connection() as connection:
            if await find_documents(connection, sha256) != [sha256]:
                raise DocumentNotFound(f"there is no document with the sha256 {sha256}")
        forgetter = Forgetter(custody=patient, settings=settings, by=by)
        if dry_run:
            return (await forgetter.look(sha256)).as_json()
        return (await forgetter.forget(sha256, force=force)).as_json()
