"""Call one S3 server through s3fs, from any thread, with a bound on time and attempts.

s3fs provides the options, the credentials and the event loop; its file objects and its caches are not used. Its own
retries and botocore's are turned off, because together they multiply: a permanent 503 would take minutes. Owns the
retries, the limit on concurrent calls, and the watchdog that ends calls in which no byte moves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import aiobotocore.session  # pyright: ignore[reportMissingTypeStubs]
from aiobotocore.config import AioConfig  # pyright: ignore[reportMissingTypeStubs]
from s3fs import S3FileSystem  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidSettings
from blocks.runtime.shutdown import shutdown_deadline
from blocks.storage.s3.failure import RangesIgnored, S3Failure

T = TypeVar("T")

# Enough for eight concurrent uploads; each connection costs the server something.
MAX_CONNECTIONS = 32
# After a shutdown request every call still gets this long, so that a half-finished write can be taken back.
_LAST_ATTEMPT_SECONDS = 0.3
# How often a waiting call checks for a shutdown request.
_CHECK_SECONDS = 0.25
# aiohttp returns what has arrived, 64 to 256 KiB at a time.
_RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    """How long an unsuccessful call may take. A call that moves bytes is not limited."""

    # No byte moved in either direction: the connection is dead. A server that is merely busy answers within this.
    stall_seconds: float = 10.0
    # The same while an upload is completed, or a thousand objects are deleted: a server may do all of it before its
    # first byte.
    completion_stall_seconds: float = 120.0
    # Counted from the first failure; a call is always tried twice. Six attempts at the pauses below.
    retry_seconds: float = 8.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 2.0

    @property
    def for_completion(self) -> RetryLimits:
        return replace(self, stall_seconds=self.completion_stall_seconds)

    @property
    def for_cleanup(self) -> RetryLimits:
        """Cleaning up may take no longer than failing."""
        return replace(self, retry_seconds=self.retry_seconds / 2)


class Body(io.BytesIO):
    """A request body that records when it was last read, which is when the upload last moved."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_at = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        self.moved_at = time.monotonic()
        return super().read(size)


class S3Connection:
    """S3 operations with one set of options. Safe in several threads, and in processes forked from this one."""

    def __init__(self, options: Mapping[str, Any], limits: RetryLimits) -> None:
        self.limits = limits
        with _options_refused(options):
            self._options = _with_defaults(options)
        # By process id: a child process cannot use the event loop and sockets of its parent.
        self._clients: dict[int, _Client] = {}
        self._client()  # reports wrong options now, not at the first write

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or an unpickled instance opens its own connections."""
        return S3Connection, (self._options, self.limits)

    @property
    def additional(self) -> Mapping[str, Any]:
        """Parameters that the options add to every call, such as a storage class."""
        return cast("Mapping[str, Any]", self._options.get("s3_additional_kwargs") or {})

    @property
    def anonymous(self) -> bool:
        return bool(self._options.get("anon"))

    def call(self, operation: str, *, limits: RetryLimits | None = None, **parameters: Any) -> dict[str, Any]:
        """Call *operation* (botocore's name) and return its answer, with the body, if any, as bytes.

        ``ResponseMetadata["RetryAttempts"]`` of the answer counts the failed attempts. Raises `S3Failure`.
        """
        return self.start(operation, limits=limits, **parameters).result()

    def start(self, operation: str, *, limits: RetryLimits | None = None, **parameters: Any) -> Future[dict[str, Any]]:
        """Like `call`, but return a future immediately."""
        client = self._client()
        return client.run(client.call(operation, limits or self.limits, parameters))

    def presigned(self, operation: str, seconds: int, **parameters: Any) -> str:
        """Return a URL with which any holder can do *operation*; makes no call."""
        client = self._client()
        return client.run(client.presigned(operation, seconds, parameters)).result()

    def on_loop(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Run *work* on the event loop of the calls, where their tasks can be touched."""

        async def run() -> T:
            return await work()

        return self._client().run(run())

    async def call_on_loop(
        self, operation: str, *, limits: RetryLimits | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Like `call`, for code that runs on that event loop."""
        return await self._client().call(operation, limits or self.limits, parameters)

    def _client(self) -> _Client:
        client = self._clients.get(os.getpid())
        return client or self._clients.setdefault(os.getpid(), _Client(self._options))


class _Client:
    """The state of one process: an s3fs instance, its event loop, and the limit on concurrent calls."""

    def __init__(self, options: dict[str, Any]) -> None:
        with _options_refused(options):
            # Not from fsspec's cache of instances: the settings below must not reach another user of s3fs.
            self._filesystem = cast("Any", S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False))
            config = cast("Any", AioConfig(**self._filesystem.config_kwargs))
            aiobotocore.session.AioSession(**self._filesystem.kwargs)
            if config.max_pool_connections < 1:
                raise ValueError("with no connection allowed every call would wait for ever")
            self._slots = asyncio.Semaphore(config.max_pool_connections)
        self._filesystem.retries = 1
        self._known: set[int] = set()

    def run(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._filesystem.loop)

    async def call(self, operation: str, limits: RetryLimits, parameters: dict[str, Any]) -> dict[str, Any]:
        pause, attempts, first_failure = limits.first_pause_seconds, 0, 0.0
        is_renewed = False
        while True:
            attempts += 1
            session = self._filesystem._s3
            try:
                async with self._slots:
                    answer = await self._attempt(operation, limits.stall_seconds, parameters)
                answer["ResponseMetadata"]["RetryAttempts"] = attempts - 1
                return answer
            except Exception as exc:
                failure = S3Failure(operation, exc)
                failure.attempts = attempts
                if failure.credentials_are_old and not is_renewed:
                    is_renewed = True
                    if await self._renew(session):
                        continue
                now = time.monotonic()
                first_failure = first_failure or now
                if not failure.transient or now + pause > min(
                    first_failure + limits.retry_seconds, shutdown_deadline()
                ):
                    raise failure from exc
            # Jitter, so that writers that failed together do not retry together.
            await short_pause(pause * random.uniform(0.75, 1.0))  # noqa: S311 -- no secret
            pause = min(2 * pause, limits.longest_pause_seconds)

    async def _renew(self, session: Any) -> bool:
        """Replace *session*, unless another call has, by one that reads the credentials again. Return whether there is
        another one."""
        if self._filesystem._s3 is session:
            with suppress(Exception):  # what is wrong with the credentials is the call's error
                await self._filesystem.set_session(refresh=True)
        return self._filesystem._s3 is not session and session is not None

    async def presigned(self, operation: str, seconds: int, parameters: dict[str, Any]) -> str:
        try:
            client = await self._botocore_client(parameters["Bucket"])
            url = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
            return cast("str", await url)
        except Exception as exc:
            raise S3Failure(operation, exc) from exc

    async def _attempt(self, operation: str, stall_seconds: float, parameters: dict[str, Any]) -> dict[str, Any]:
        """Make one attempt, cancelled when no byte moves for *stall_seconds* or the process must shut down."""
        progress, last = _Progress(parameters.get("Body")), time.monotonic() + _LAST_ATTEMPT_SECONDS
        attempt = asyncio.ensure_future(self._once(operation, parameters, progress))
        try:
            while not attempt.done():
                left = min(progress.moved_at + stall_seconds, max(shutdown_deadline(), last)) - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no byte moved")
                await asyncio.wait([attempt], timeout=min(left, _CHECK_SECONDS))
        except BaseException:
            attempt.cancel()
            await asyncio.wait([attempt])  # its connection is closed only when it ends
            if not attempt.cancelled():
                attempt.exception()  # mark as retrieved
            raise
        return attempt.result()

    async def _once(self, operation: str, parameters: dict[str, Any], progress: _Progress) -> dict[str, Any]:
        await self._botocore_client(parameters["Bucket"])
        body = parameters.get("Body")
        if body is not None:
            body.seek(0)
        answer = cast("dict[str, Any]", await self._filesystem._call_s3(operation, **parameters))
        if "Body" in answer:
            answer["Body"] = await _received(answer, parameters["Range"], progress)
        return answer

    async def _botocore_client(self, bucket: str) -> Any:
        await self._filesystem.set_session()
        client = await self._filesystem.get_s3(bucket)
        if id(client) not in self._known:
            # botocore sends "Expect: 100-continue" before a file-like body, and aiohttp waits for that answer for ever;
            # not every server and proxy sends it.
            client.meta.events.register_last("before-call.s3", _without_expect)
            client.meta.events.register_last("before-call.s3.DeleteObjects", _with_md5)
            self._known.add(id(client))
        return client


async def short_pause(seconds: float) -> None:
    """Sleep, but not beyond the shutdown deadline of the process."""
    until = time.monotonic() + seconds
    while (left := min(until, shutdown_deadline()) - time.monotonic()) > 0:  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(min(left, _CHECK_SECONDS))


class _Progress:
    """When a byte of a call last moved."""

    def __init__(self, body: Body | None) -> None:
        self._body = body
        self._at = time.monotonic()
        if body is not None:
            body.moved_at = self._at

    def moved(self) -> None:
        self._at = time.monotonic()

    @property
    def moved_at(self) -> float:
        return self._at if self._body is None else max(self._at, self._body.moved_at)


async def _received(answer: dict[str, Any], requested: str, progress: _Progress) -> bytearray:
    """Read the body for the range *requested*. Raises `OSError` when it is shorter than announced."""
    stream, expected = answer["Body"], int(answer["ContentLength"])
    first, _, last = requested.removeprefix("bytes=").partition("-")
    try:
        if expected > int(last) - int(first) + 1:
            raise RangesIgnored
        content, received = bytearray(expected), 0
        while piece := await stream.read(_RECEIVE_BYTES):
            progress.moved()
            content[received : received + len(piece)] = piece
            received += len(piece)
    finally:
        stream.close()
    if received != expected:
        raise ConnectionError("the answer was cut")
    return content


@contextmanager
def _options_refused(options: Mapping[str, Any]) -> Generator[None]:
    try:
        yield
    except Exception as exc:
        raise InvalidSettings(
            f"s3:// storage does not take these options: {', '.join(sorted(options))}; give those of "
            "s3fs.S3FileSystem (key, secret, endpoint_url, client_kwargs, config_kwargs, s3_additional_kwargs, ...)"
        ) from exc


def _without_expect(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


def _with_md5(params: dict[str, Any], **_: Any) -> None:
    """Add the digest that many servers demand of this request; botocore sends the newer CRC32 alone."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def _with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return *options* with defaults for values that they do not set."""
    dict(options.get("s3_additional_kwargs") or {})  # checked here: used only later, and not by s3fs alone
    config: dict[str, Any] = dict(options.get("config_kwargs") or {})
    config.setdefault("max_pool_connections", MAX_CONNECTIONS)
    config.setdefault("connect_timeout", 5)
    # The watchdog of `_attempt` is stricter, and knows which call may take longer.
    config.setdefault("read_timeout", 300)
    config.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
    # The signature covers the sha256 of every body, and S3 refuses a body that does not match it: the strongest check
    # there is, and one that every server of the last ten years makes. The newer checksums would add a second pass, in
    # an encoding (aws-chunked, with trailers) that many servers do not read.
    config.setdefault("request_checksum_calculation", "when_required")
    config.setdefault("response_checksum_validation", "when_required")
    config["s3"] = {"payload_signing_enabled": True, **(config.get("s3") or {})}
    if not options.get("anon"):
        config.setdefault("signature_version", "s3v4")
    return {**options, "config_kwargs": config}
