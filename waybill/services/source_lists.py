"""Lists of sources in custody: for runs of more sources than a run's parameters hold.

Prefect takes 512 KiB of parameters, keeps them with the run and sends them with each of its events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from blocks.access import Actor
from blocks.catalog import Draft
from blocks.custody import Custody
from blocks.redaction import custody_source, list_source
from tasks.sources.source_lists import MEDIA_TYPE, write_list
from waybill.services.files import recorded_upload

# A run that is interrupted reads its list again when it goes on; a week later it is begun anew.
LIST_PERIOD = timedelta(days=7)


async def store_list(custody: Custody, sources: Sequence[str], *, name: str, by: Actor) -> str:
    """Store *sources* as a list that people see as *name*, and return the source text that names it.

    Raises what `Custody.take` raises.
    """
    content = b"".join(write_list(sources))
    draft = Draft(
        kind="upload",
        filename=name,
        source_file=name,
        document_sha256=hashlib.sha256(content).hexdigest(),
        media_type=MEDIA_TYPE,
        keep_for=LIST_PERIOD,
    )
    artifact = await custody.take(draft, content, make_available=recorded_upload(custody, by=by))
    return list_source(custody_source(artifact.file_id, name))
