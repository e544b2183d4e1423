"""The bytes of a download as a response: opened, sent by the kernel where it can, followed, and ended with an error.

What can be known before the status is sent gets an error status; a later failure, and a transfer that is cancelled
meanwhile, break the connection, and the client sees fewer bytes than `Content-Length` announced.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import BinaryIO

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.catalog import Artifact
from blocks.custody.read import as_content_mismatch
from blocks.errors import ArtifactNotFound, BlobMissing, ContentMismatch, TransferOver
from blocks.transfers import Transfer
from blocks.transfers.outgoing import Outgoing, open_outgoing
from blocks.transfers.progress import Meter
from waybill.gateway.errors import HttpError
from waybill.gateway.fair_places import NoPlace, Place, PlaceLost
from waybill.gateway.http.conditional_requests import ByteRange
from waybill.gateway.http.file_range_response import FileRangeResponse
from waybill.gateway.resources import Resources
from waybill.services.transfers import fail_transfer

# Long enough for a burst of downloads to pass.
_PLACE_WAIT_SECONDS = 5.0


class TransferResponse(Response):
    """All bytes of a download (200), or *part* of them (206), for *holder*, who needs a place among the readers."""

    def __init__(
        self,
        resources: Resources,
        transfer: Transfer,
        artifact: Artifact,
        part: ByteRange | None,
        *,
        headers: Mapping[str, str],
        holder: str,
    ) -> None:
        size = transfer.size or 0
        self._range = part or ByteRange(start=0, stop=size)
        framing = {"Content-Range": part.content_range(size)} if part is not None else {}
        super().__init__(status_code=206 if part else 200, headers={**headers, **framing})
        self._resources, self._transfer, self._artifact = resources, transfer, artifact
        self._headers, self._holder = {**headers, **framing}, holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the bytes. Errors before the first of them are raised with nothing sent."""
        resources, transfer = self._resources, self._transfer
        try:
            async with (
                resources.readers.place(self._holder, wait_seconds=_PLACE_WAIT_SECONDS) as place,
                open_outgoing(resources.custody, transfer, self._artifact) as outgoing,
                resources.transfer_progress.following(transfer) as meter,
                place.revocable(),
            ):
                with as_content_mismatch(outgoing.artifact):
                    await self._body(outgoing, meter, place)(scope, receive, send)
        except NoPlace:
            message = "too many downloads are in progress; try again in a moment"
            raise HttpError(503, "TooManyDownloads", message) from None
        except PlaceLost:
            raise HttpError(503, "DownloadDisplaced", "the place was given to another reader") from None
        except (ArtifactNotFound, BlobMissing, ContentMismatch, TransferOver) as error:
            await fail_transfer(resources.custody.catalog, resources.event_links, transfer.transfer_id, error.message)
            raise

    def _body(self, outgoing: Outgoing, meter: Meter, place: Place) -> FileRangeResponse:
        start = self._range.start

        def on_progress(first: int, beyond: int) -> None:
            place.moved(beyond - first)
            meter.add(start + first, start + beyond)

        part = outgoing.part(start, self._range.stop)
        return FileRangeResponse(
            _source(outgoing.stream),
            offset=part.offset,
            count=part.count,
            leading=part.leading,
            status_code=self.status_code,
            headers=self._headers,
            on_progress=on_progress,
        )


def _source(stream: BinaryIO) -> int | BinaryIO:
    """Return a descriptor of its own for a local file, which the kernel can send; anything else is read."""
    raw: object = getattr(stream, "raw", None)
    return os.dup(stream.fileno()) if isinstance(raw, io.FileIO) else stream
