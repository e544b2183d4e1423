"""The parameters of process-documents, as the form of a run shows them and Prefect's API checks them.

Stages have names, which people choose from, and numbers, which programs send; both stay valid. A schema only refuses
what can be known without looking: what a parameter means is checked by the run itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, WithJsonSchema

from blocks.runtime.form_schema import LeftOut, shown_as
from blocks.webhooks.send.address import MAX_URL_CHARS
from tasks.contract import StageOptions
from tasks.registry import options_model, stage_schemas
from tasks.remote.run_on import RunOn

if TYPE_CHECKING:

    class ProcessOptions(StageOptions):
        """One field per stage, generated from the registry at run time, so that a new stage appears in the run form."""

else:
    ProcessOptions = options_model()

_NAME, _NUMBER = stage_schemas()
# Stages may be written with _ too, as the options are.
_WRITTEN: dict[str, Any] = {
    "propertyNames": {"enum": [*_NAME["enum"], *(name.replace("-", "_") for name in _NAME["enum"] if "-" in name)]}
}
_URL = {"title": "URL", "type": "string", "format": "uri", "pattern": "^[Hh][Tt]{2}[Pp][Ss]?://[!-~]+$"}

Sources = Annotated[
    list[Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]], shown_as("Sources", minItems=1)
]
Stages = Annotated[
    Annotated[list[Annotated[str, WithJsonSchema(_NAME)]], Field(title="By name")]
    | Annotated[list[Annotated[int, WithJsonSchema(_NUMBER)]], Field(title="By number")]
    | LeftOut,
    shown_as("Stages"),
]
Options = Annotated[ProcessOptions | LeftOut, shown_as("Options")]
WebhookUrl = Annotated[
    Annotated[str, WithJsonSchema({**_URL, "maxLength": MAX_URL_CHARS})] | LeftOut, shown_as("Webhook")
]
Places = Annotated[
    Annotated[dict[str, str | RunOn], Field(title="By stage")] | LeftOut, shown_as("Remote workers", **_WRITTEN)
]
Spread = Annotated[Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})] | LeftOut, shown_as("Work pool")]
