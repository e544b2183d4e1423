"""Every error Waybill raises, as types; pure.

Owns the one root and the split that drives retries: a `Transient` condition may pass by itself and is tried again, a
`Permanent` one never is. Only these types decide; no message is ever parsed. A message says what failed, on which
object, what was expected and found, and what to do next; it never carries a secret or the content of a document.
"""

from __future__ import annotations

from typing import Any


class WaybillError(Exception):
    """Root of all errors. Keyword arguments become attributes and survive pickling (workers send errors home)."""

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
    """The same call will fail again: told at once, never retried."""


# Use and configuration ------------------------------------------------------------------------------------------------


class InvalidSettings(Permanent):
    """The environment or a block holds a value that cannot work."""


class InvalidOptions(Permanent):
    """Stage options or command arguments that do not fit their schema."""


class SourceNotFound(Permanent):
    """A source that names no readable file."""


class TargetUnwritable(Permanent):
    """A file outside of custody, into which content was to be copied, cannot be written."""


# Storage and catalogue ------------------------------------------------------------------------------------------------


class StorageUnavailable(Transient):
    """The storage did not answer or failed half-way; nothing was made visible."""


class StorageFull(Permanent):
    """No room left for the blob; nothing was made visible."""


class KeyExists(Permanent):
    """Another writer has published under this key; its blob stands."""


class UnsafeKey(Permanent):
    """A storage key that would leave the root or that no storage can hold."""


class BlobMissing(Permanent):
    """The storage has no blob under this key."""


class ContentMismatch(Permanent):
    """Size or sha256 differ from what was declared or recorded."""


class MalformedManifest(Permanent):
    """A manifest beside a blob that cannot be read, or that does not describe this blob."""


class ArtifactNotFound(Permanent):
    """No available artifact with this id."""


class ArtifactGone(ArtifactNotFound):
    """There was an artifact with this id; it has expired or was deleted."""


class ArtifactPinned(Permanent):
    """The file is pinned, so it is not deleted."""


class RunNotFound(Permanent):
    """Prefect knows no run with this id."""


class CatalogUnavailable(Transient):
    """Postgres did not answer or dropped the connection."""


class CatalogRefused(Permanent):
    """Postgres rejects the statement or its data; the same again will be rejected again."""


# Runs and access ------------------------------------------------------------------------------------------------------


class PrefectUnavailable(Transient):
    """The Prefect server did not answer, or cannot do now what it was asked for."""


class DeploymentMissing(Transient):
    """The deployment that a run was to be started of is not registered; `waybill up` or `prefect deploy` does it."""


class ApiKeyNotFound(Permanent):
    """No API key with this id."""


# Encryption and links ------------------------------------------------------------------------------------------------


class InvalidKey(Permanent):
    """A recipient, identity or key file that is not well formed."""


class MalformedAgeFile(Permanent):
    """Not an age file, or one that breaks the format."""


class RotationUnderWay(Transient):
    """Another process is moving the stored files to another key."""


class NoMatchingIdentity(Permanent):
    """None of the keys at hand opens this file."""


class AuthenticationFailed(Permanent):
    """An authentication tag does not fit: the encrypted bytes were changed, cut short or moved."""


class LinkInvalid(Permanent):
    """A link that was not signed here, was altered, or is for something else."""


class LinkExpired(Permanent):
    """A link whose time is over."""


# Webhooks -------------------------------------------------------------------------------------------------------------


class InvalidWebhookUrl(Permanent):
    """An address that no webhook can be sent to, whatever the network is like."""


class AddressRefused(Permanent):
    """An address inside of a network that webhooks must not reach."""


class HostUnresolved(Transient):
    """A host name that has no address now, as far as DNS tells."""


class SignatureInvalid(Permanent):
    """A webhook that was not signed with the secret at hand, or was signed too long ago."""


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
    """The document wants a password."""


class UnreadableDocument(Permanent):
    """Damaged, or not what its type says."""


class StageInputMissing(Permanent):
    """A stage was asked for, but the output it reads was never made."""


class StageTimedOut(Permanent):
    """The worker process used up its time and was ended."""


class StageOutOfMemory(Permanent):
    """The worker process reached its memory limit."""


class StageCrashed(Permanent):
    """The worker process died; the document is suspect."""


class StageFailed(Permanent):
    """A stage raised something unforeseen: a defect of the stage, told with the exception's type."""


class EmbeddingModelUnavailable(Permanent):
    """The embedding model cannot be found, built or read on this machine."""


class LanguageModelUnavailable(Transient):
    """The model server did not answer, or asked for patience."""


class LanguageModelRefused(Permanent):
    """The model server rejects the request or keeps giving unusable answers."""


# The local stack ------------------------------------------------------------------------------------------------------


class StackUnavailable(Permanent):
    """Postgres or the Prefect server could not be started or reached."""
