"""Classify a failed S3 call: transient or final, and which of our errors it becomes.

S3 reports an error code and an HTTP status; the network raises exceptions of botocore and aiohttp. Messages name the
code and the operation only, because the server's own text may quote access keys or signed headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError  # pyright: ignore[reportMissingTypeStubs]
from botocore.parsers import ResponseParserError  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidSettings, StorageFull, StorageUnavailable, WaybillError

# Transient although most have a 4xx status: the body did not arrive as it was sent, or two requests collided.
_TRANSIENT_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}
# Credentials that were right when the session began: they have expired, or were replaced where they are kept.
_OLD_CREDENTIALS_CODES = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"}
_TRANSIENT_STATUSES = {408, 425, 429}
# The server cannot do this at all; every other 5xx may pass.
_FINAL_SERVER_STATUSES = {501, 505, 507}
# Codes of servers that have quotas (Ceph, MinIO, Swift); S3 itself is never full.
_FULL_CODES = {
    "EntityTooLarge",
    "InsufficientStorage",
    "QuotaExceeded",
    "QuotaExceededException",
    "StorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
}
_TRANSIENT_TYPES = (
    BotocoreConnectionError,
    aiohttp.ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseParserError,
    ResponseStreamingError,
    OSError,  # TimeoutError too
)
_MEANING = {
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
    "ExpiredToken": "the session token has expired; get new credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "InvalidObjectState": "the object is archived; restore it first",
    "NoSuchBucket": "there is no such bucket; create it, or correct the storage URL",
    "PermanentRedirect": "the bucket is in another region; name it in client_kwargs: region_name",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name it in client_kwargs: region_name",
}

# A server that refuses one object and not the others: a lock, a legal hold, a policy of the bucket.
_OF_ONE_KEY = "the bucket's rules or these credentials do not allow to delete this object"

# Anything longer, or with other characters, is not repeated in a message.
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def code_of_key(entry: Mapping[str, Any]) -> str:
    """Return the code of an error that a server reports for one key among many."""
    code = str(entry.get("Code", ""))
    return code if _CODE.fullmatch(code) else "an error without a code"


def is_transient_code(code: str) -> bool:
    """Return whether S3 reports *code* for what may succeed shortly."""
    return code in _TRANSIENT_CODES


def meaning_of_code(code: str) -> str:
    """Return what to do about *code*, which a server reports for one object among many."""
    if code in _FULL_CODES:
        return "the storage or its quota is full; free some space and start again"
    return _MEANING.get(code) or ("try again later" if code in _TRANSIENT_CODES else _OF_ONE_KEY)


class RangesIgnored(Exception):
    """The server sent more than the requested range; accepting it could need any amount of memory."""


class S3Failure(Exception):
    """A call that failed, after as many attempts as its `RetryLimits` allow."""

    def __init__(self, operation: str, cause: Exception) -> None:
        # s3fs turns the server's error into an OSError, and keeps it as the cause.
        said = cause.__cause__ if isinstance(cause.__cause__, ClientError) else cause
        response = cast("dict[str, Any]", said.response) if isinstance(said, ClientError) else {}  # pyright: ignore[reportUnknownMemberType]
        self.operation = operation
        self.attempts = 1
        code = str(response.get("Error", {}).get("Code", ""))
        self.code = code if _CODE.fullmatch(code) else type(said).__name__
        self.status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        self.answered = bool(response)
        self._cause = said
        super().__init__(f"{operation}: {self.code}")

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed shortly."""
        if self.full:
            return False
        if self.answered:
            server_error = self.status >= 500 and self.status not in _FINAL_SERVER_STATUSES
            return server_error or self.code in _TRANSIENT_CODES or self.status in _TRANSIENT_STATUSES
        return isinstance(self._cause, _TRANSIENT_TYPES)

    @property
    def full(self) -> bool:
        return self.status == 507 or self.code in _FULL_CODES

    @property
    def credentials_are_old(self) -> bool:
        """Whether a session that reads its credentials again may do better."""
        return self.code in _OLD_CREDENTIALS_CODES

    @property
    def missing(self) -> bool:
        return self.status == 404 and self.code not in {"NoSuchBucket", "NoSuchUpload"}

    @property
    def upload_gone(self) -> bool:
        return self.code == "NoSuchUpload"

    @property
    def condition_failed(self) -> bool:
        return self.status == 412

    @property
    def range_unsatisfiable(self) -> bool:
        return self.status == 416

    def as_error(self, action: str) -> WaybillError:
        """Return our error for this failure; *action* says what was attempted."""
        said = f"cannot {action}: the S3 server answered {self.code}" if self.answered else f"cannot {action}"
        if self.full:
            return StorageFull(f"{said}: the storage or its quota is full; free some space and start again")
        if self.upload_gone:
            return StorageUnavailable(f"{said}: another process has ended this upload; start again")
        if self.transient:
            tried = "" if self.attempts == 1 else f" ({self.attempts} attempts)"
            what = "" if self.answered else f": {_CONNECTION.get(self.code, self.code)}"
            return StorageUnavailable(f"{said}{what}{tried}; try again later")
        if isinstance(self._cause, RangesIgnored):
            return InvalidSettings(f"{said}: the server does not support range requests; use another one")
        if isinstance(self._cause, BotoCoreError):
            return InvalidSettings(f"{said}: {_without_values(self._cause)}; see the storage options")
        meaning = _MEANING.get(self.code) or _MEANING_OF_STATUS.get(self.status, "see the storage options")
        return InvalidSettings(f"{said}: {meaning}" if self.answered else f"{said}: {self.code}; {meaning}")


_MEANING_OF_STATUS = {
    401: "these credentials are not accepted; see the storage options",
    403: "these credentials do not have the right to do this in this bucket",
    404: "there is no such bucket; create it, or correct the storage URL",
}
_CONNECTION = {
    "ConnectTimeoutError": "the server cannot be reached",
    "EndpointConnectionError": "the server cannot be reached",
    "ConnectionClosedError": "the connection broke",
    "ReadTimeoutError": "the server did not answer in time",
    "TimeoutError": "no byte has moved for too long",
}


def _without_values(cause: BotoCoreError) -> str:
    """Describe a client-side error without its own text, which may quote option values."""
    name = type(cause).__name__
    return {
        "NoCredentialsError": "no credentials were found; give key and secret, or set up an AWS profile",
        "PartialCredentialsError": "the credentials are incomplete; give both key and secret",
        "ProfileNotFound": "the named AWS profile does not exist",
    }.get(name, name)
