"""watch-source: one look at a folder, a glob, a bucket or a URL; a schedule repeats it.

What is new or changed becomes runs of process-documents. The look itself is `tasks.watching`.
"""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.catalog import Catalog
from blocks.durations import DURATION_PATTERN, parse_duration
from blocks.errors import WaybillError
from blocks.redaction import redacted_source
from blocks.retention.policy import Period
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.form_schema import LeftOut, shown_as
from blocks.settings import current_settings
from flows.processing.parameters import Options, Stages, WebhookUrl
from flows.schedules import is_done_already, skipped
from tasks.watching import Watch, look

# Of a local file that has not changed for so long it is known without a second look that it is whole.
SETTLE = "10s"


def run_name() -> str:
    """Return the watched place."""
    parameters = cast("dict[str, Any]", flow_run.parameters or {})
    return f"watch {redacted_source(str(parameters.get('source') or 'nothing'))}"


# Prefect shows the descriptions of a docstring in the form of a run, and no others.
@flow(name="watch-source", flow_run_name=run_name, persist_result=False)
async def watch_source(
    source: Annotated[str, Field(min_length=1), shown_as("Place")],
    stages: Stages = None,
    options: Options = None,
    webhook_url: WebhookUrl = None,
    keep_for: Annotated[Period | LeftOut, shown_as("Keep files for")] = None,
    settle: Annotated[str, Field(pattern=DURATION_PATTERN), shown_as("Unchanged for")] = SETTLE,
) -> State[dict[str, Any]]:
    """Take what is new or changed in a place since the last look, and start runs of process-documents for it.

    Each version of a file is taken once. A file that is still being written is left for the next look. One that failed
    is tried again only after a failure that may pass, three times in all, or when it has changed.

    Args:
        source: What to look at: the whole path of a folder or a glob on the machine that runs `waybill up`, such as
            `/data/inbox` or `/data/*.pdf`, a bucket with a prefix such as `s3://inbox/letters/`, or one URL.
        stages: The stages of the runs, by name or by number; all when left out.
        options: Options of each stage. What is left out has its default.
        webhook_url: A URL that receives the events of these runs, in addition to the registered endpoints.
        keep_for: How long the files of these runs stay, such as `90d`; as the setting `retention` says when left out.
        settle: A local file that changed within this time, such as `10s`, may still be being written: it is left for
            the next look.
    """
    if await is_done_already():
        return skipped()
    given: dict[str, Any] = {
        "stages": stages,
        "options": options.model_dump(mode="json", exclude_unset=True, exclude_none=True) if options else None,
        "webhook_url": webhook_url,
        "keep_for": cast("dict[str, Any]", flow_run.parameters or {}).get("keep_for"),
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    watch = Watch(source=source, settle=parse_duration(settle), parameters=parameters)
    settings = current_settings()
    try:
        async with (
            Catalog.open(settings.required_database_url) as catalog,
            PrefectApi.open(PREFECT_API_URL.value()) as prefect,
        ):
            report = await look(settings, catalog, prefect, watch, run_id=UUID(str(cast("str", flow_run.id))))
    except WaybillError as error:
        return Failed(message=f"{type(error).__name__}: {error.message}")
    return Completed(message=report.line(), data=report.as_json())
