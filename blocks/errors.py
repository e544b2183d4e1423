"""Every error that Waybill raises, as types; pure.

Owns the root and the split that drives retries: a `Transient` condition may pass by itself and is retried, a
`Permanent` one never is. Only the types decide; no message is parsed. A message says what failed, on which object, what
was expected and found, and what to do next. It never holds a secret or the content of a document.
"""

from __future__ import annotations

from typing import Any


class WaybillError(Exception):
    """Root of all errors. Keyword arguments become attributes and survive pickling (worker processes return errors)."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        for name, value in context.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.context))


def _rebuild(kind: type[WaybillError], message: str, context: dict[str, Any]) -> WaybillError:
    return kind(message, **context)


class Transient(WaybillError):
    """The same call may succeed later: retried with a bound."""


class Permanent(WaybillError):
    """The same call will fail again: reported immediately, never retried."""


# Use and configuration ------------------------------------------------------------------------------------------------


class InvalidSettings(Permanent):
    """The environment, `waybill.toml` or a Prefect block holds an unusable value."""


class StorageKeyMissing(InvalidSettings):
    """The storage key is not where it belongs, and stored files need it; nothing is stored until it is back."""


class InvalidOptions(Permanent):
    """Stage options or command arguments that do not fit their schema."""


class AmbiguousId(InvalidOptions):
    """The beginning of an id, or a name, fits several things."""


class SourceNotFound(Permanent):
    """A source names no readable file."""


class SourceRefused(Permanent):
    """A source that no run may read: outside of `allowed_sources`, Waybill's own, or behind a link that leads out."""


class TargetUnwritable(Permanent):
    """A local file to copy content into cannot be written."""


# Storage and catalogue ------------------------------------------------------------------------------------------------


class StorageUnavailable(Transient):
    """The storage did not answer or failed half-way; nothing became visible."""


class StorageFull(Permanent):
    """There is no space left for the blob; nothing became visible."""


class KeyExists(Permanent):
    """Another writer has published at this blob path; its blob stays."""


class UnsafeKey(Permanent):
    """A blob path that would leave the root or that no storage can hold."""


class BlobMissing(Permanent):
    """The storage has no blob at this path."""


class ContentMismatch(Permanent):
    """Size or sha256 differ from what was declared or recorded."""


class MalformedManifest(Permanent):
    """A manifest cannot be read, or does not describe the blob that it is stored with."""


class ArtifactNotFound(Permanent):
    """No available artifact with this id."""


class ArtifactGone(ArtifactNotFound):
    """There was an artifact with this id; it has expired or was deleted."""


class DocumentNotFound(Permanent):
    """Nothing is known of a document with this content."""


class ArtifactPinned(Permanent):
    """The file is pinned, so it is not deleted."""


class ArtifactHeld(ArtifactPinned):
    """A legal hold keeps the file, so it is not deleted until an administrator lifts it."""


class DocumentInUse(Permanent):
    """The document is being stored or worked on, so it is not forgotten now."""


class PlanNotFound(Permanent):
    """No plan of the retention with this id."""


class PlanExecuted(PlanNotFound):
    """The plan of a retention was executed already."""


class RunNotFound(Permanent):
    """Prefect has no run of Waybill with this id."""


class RunUnreadable(Permanent):
    """Prefect has the run, and its server or its client cannot read what it holds."""


class WatchNotFound(Permanent):
    """No watch has this id or watches this place."""


class RunCancelled(Permanent):
    """The run was cancelled while it worked."""


class RunLost(Permanent):
    """Another process has taken this run for dead, while this one was stopped or cut off from the database."""


class RunEnded(Permanent):
    """The run is over, so it cannot be cancelled."""


class CatalogUnavailable(Transient):
    """Postgres did not answer or dropped the connection."""


class CatalogFull(CatalogUnavailable):
    """The disk of Postgres is full; retried, because only Postgres' machine is short of room, and it may be freed."""


class CatalogRefused(Permanent):
    """Postgres rejects the statement or its data; the same again will be rejected again."""


# Runs and access ------------------------------------------------------------------------------------------------------


class PrefectUnavailable(Transient):
    """The Prefect server did not answer, or cannot serve the request now."""


class DeploymentMissing(Transient):
    """The deployment to start a run of is not registered; `waybill up` and `prefect deploy` register it."""


class ApiKeyNotFound(Permanent):
    """No API key with this id."""


# Exports --------------------------------------------------------------------------------------------------------------


class ExportNotFound(Permanent):
    """No export job with this id."""


class ExportGone(ExportNotFound):
    """The file of an export has expired or was deleted."""


class ExportRefused(Permanent):
    """The query, the input or a value cannot be exported in this format: the message names the column and the row."""


class ExportStopped(Permanent):
    """The export was cancelled, or exceeded its limit of rows or time."""


# Hand-over ------------------------------------------------------------------------------------------------------------


class TransferNotFound(Permanent):
    """No transfer has this id."""


class TransferOver(TransferNotFound):
    """The transfer has been completed, has failed, was cancelled or has expired."""


class TransferConflict(Permanent):
    """The request does not fit what has been transferred: another offset, another size, or other content."""


class UploadRefused(TransferConflict):
    """All bytes of an upload are here and are not what was declared, or not sealed as agreed; the upload has failed."""


class TransferLocked(Transient):
    """Another request is writing to the transfer."""


class TransferRefused(Permanent):
    """The gateway answers a request of a transfer in a way that no retry changes."""


class GatewayUnavailable(Transient):
    """The gateway on the other side did not answer, or cannot serve the transfer now."""


class WorkerNotFound(Permanent):
    """No worker has this name."""


class WorkerRefused(Permanent):
    """The worker is revoked, unknown, or not the one that this is for."""


class EnrolmentRefused(Permanent):
    """The enrolment code is unknown, used or expired."""


class WorkerExists(EnrolmentRefused):
    """A worker has this name or this key already; also a revoked one keeps both."""


class SessionUnreadable(Permanent):
    """The session that a gateway answers is not sealed for this worker's key: another gateway, or another key."""


class GatewayRefused(Permanent):
    """The gateway rejects the request; the same again will be rejected again."""


class AssignmentNotFound(Permanent):
    """No assignment has this id."""


class AssignmentLost(Permanent):
    """The assignment is another worker's now, or is over."""


class RemoteFailed(Permanent):
    """No remote worker has run the stage in time, or each that began has been lost."""


# Encryption and links ------------------------------------------------------------------------------------------------


class InvalidKey(Permanent):
    """A recipient, identity or key file is malformed."""


class MalformedAgeFile(Permanent):
    """Not an age file, or one that breaks the format."""


class RotationUnderWay(Transient):
    """Another process is re-encrypting the stored files for another key pair."""


class NoMatchingIdentity(Permanent):
    """None of the available identities opens this file."""


class AuthenticationFailed(Permanent):
    """An authentication tag does not match: the encrypted bytes were changed, truncated or moved."""


class LinkInvalid(Permanent):
    """A link was not signed here, was altered, or is for another resource."""


class LinkExpired(Permanent):
    """A link has expired."""


# Webhooks -------------------------------------------------------------------------------------------------------------


class InvalidWebhookUrl(Permanent):
    """A URL that no webhook can be sent to, whatever the network."""


class AddressRefused(Permanent):
    """An address in a network that webhooks must not reach."""


class HostUnresolved(Transient):
    """DNS has no address for the host name now."""


class SignatureInvalid(Permanent):
    """A webhook was not signed with this secret, or was signed too long ago."""


class EndpointNotFound(Permanent):
    """No webhook endpoint with this id."""


class DeliveryNotFound(Permanent):
    """No delivery with this id."""


class EventNotFound(Permanent):
    """No event with this id."""


# Documents and stages -------------------------------------------------------------------------------------------------


class UnsupportedType(Permanent):
    """The content is of a type that no converter reads."""


class TooLarge(Permanent):
    """The file is larger than the configured limit."""


class EmptyDocument(Permanent):
    """The file holds no bytes, or nothing but white space."""


class NoText(Permanent):
    """The document was read, and there is no text in it (a scan needs OCR)."""


class EncryptedDocument(Permanent):
    """The document needs a password."""


class UnreadableDocument(Permanent):
    """The document is damaged, or not of the type that it declares."""


class StageInputMissing(Permanent):
    """A stage was requested, but the output that it reads does not exist."""


class StageTimedOut(Permanent):
    """The worker process exceeded its time limit and was killed."""


class StageOutOfMemory(Permanent):
    """The worker process reached its memory limit, or SIGKILL or SIGABRT ended it twice.

    After Python's own `MemoryError` the process lives on. Native code that is refused memory aborts, and the kernel
    kills where the machine has none left; other causes of these signals are reported the same.
    """


class StageCrashed(Permanent):
    """The worker process died twice, the second time alone: the document is suspect. Or no process can be started."""


class StageFailed(Permanent):
    """A stage raised an unexpected exception: a defect of the stage, reported with the exception's type."""


class EmbeddingModelUnavailable(Permanent):
    """The embedding model cannot be found, built or read on this machine."""


class LanguageModelUnavailable(Transient):
    """The model server did not answer, or asked to be called later."""


class LanguageModelRefused(Permanent):
    """The model server rejects the request or keeps returning unusable answers."""


# The local stack ------------------------------------------------------------------------------------------------------


class StackUnavailable(Permanent):
    """Postgres or the Prefect server could not be started or reached."""
