"""Calls to one S3 server: through s3fs, from any thread, with a bound on time and attempts.

s3fs brings the options, the credentials and the event loop; its file objects and its caches are not used. Its own
retries and botocore's are turned off, because together they multiply: 503 for ever would take minutes. Owns the
retries, the limit on calls at the same time, and the watch over calls that no longer move.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import aiobotocore.session  # pyright: ignore[reportMissingTypeStubs]
from aiobotocore.config import AioConfig  # pyright: ignore[reportMissingTypeStubs]
from s3fs import S3FileSystem  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import InvalidSettings
from blocks.runtime.shutdown import shutdown_deadline
from blocks.storage.s3.failure import RangesIgnored, S3Failure

T = TypeVar("T")

# Enough for eight uploads at once; each connection costs the server something.
MAX_CONNECTIONS = 32
# Of a process that has been asked to end, every call gets this much, so that what was half done can be taken back.
_LAST_ATTEMPT_SECONDS = 0.3
# How often a call that waits looks whether the process has been asked to end.
_LOOK_SECONDS = 0.25
# aiohttp hands over what has come, 64 to 256 KiB at a time.
_RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class RetryLimits:
    """How long a call may take that does not succeed, in seconds. Nothing limits one that moves bytes."""

    # No byte moved in either direction: the connection is dead. Servers that are merely busy answer within this.
    stall_seconds: float = 10.0
    # The same while an upload is completed: a server may put together thousands of parts before it says a word.
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
        """To clear up may take no longer than to fail."""
        return replace(self, retry_seconds=self.retry_seconds / 2)


class Body(io.BytesIO):
    """A request's body that knows when it was last read from: that is how far the upload has come."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_at = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        self.moved_at = time.monotonic()
        return super().read(size)


class S3Connection:
    """One set of options as callable S3 operations. Safe in several threads, and in processes forked from this one."""

    def __init__(self, options: Mapping[str, Any], limits: RetryLimits) -> None:
        self.limits = limits
        with _options_refused(options):
            self._options = _with_defaults(options)
        # Event loop and sockets of a parent process are of no use to its child.
        self._clients: dict[int, _Client] = {}
        self._client()  # wrong options are told now, not at the first write

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles connect anew."""
        return S3Connection, (self._options, self.limits)

    @property
    def additional(self) -> Mapping[str, Any]:
        """What the options add to every call, such as a storage class."""
        return cast("Mapping[str, Any]", self._options.get("s3_additional_kwargs") or {})

    @property
    def anonymous(self) -> bool:
        return bool(self._options.get("anon"))

    def call(self, operation: str, *, limits: RetryLimits | None = None, **parameters: Any) -> dict[str, Any]:
        """Do *operation* (botocore's name of it) and return its answer; a body of the answer comes as bytes.

        ``ResponseMetadata["RetryAttempts"]`` of the answer counts the attempts that failed. Raises `S3Failure`.
        """
        return self.start(operation, limits=limits, **parameters).result()

    def start(self, operation: str, *, limits: RetryLimits | None = None, **parameters: Any) -> Future[dict[str, Any]]:
        """Like `call`, without waiting."""
        client = self._client()
        return client.run(client.call(operation, limits or self.limits, parameters))

    def presigned(self, operation: str, seconds: int, **parameters: Any) -> str:
        """A URL that does *operation* for whoever has it; no call is made for it."""
        client = self._client()
        return client.run(client.presigned(operation, seconds, parameters)).result()

    def on_loop(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Run what touches tasks of calls where they run."""

        async def run() -> T:
            return await work()

        return self._client().run(run())

    async def call_on_loop(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """`call` for code that runs on the loop already."""
        return await self._client().call(operation, self.limits, parameters)

    def _client(self) -> _Client:
        client = self._clients.get(os.getpid())
        return client or self._clients.setdefault(os.getpid(), _Client(self._options))


class _Client:
    """What belongs to one process: an s3fs instance, its event loop, and the limit on calls at the same time."""

    def __init__(self, options: dict[str, Any]) -> None:
        with _options_refused(options):
            # Not from fsspec's cache of instances: what is set below is for nobody else's.
            self._filesystem = cast("Any", S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False))
            config = cast("Any", AioConfig(**self._filesystem.config_kwargs))
            aiobotocore.session.AioSession(**self._filesystem.kwargs)
            if config.max_pool_connections < 1:
                raise ValueError("without a connection every call would wait for ever")
            self._slots = asyncio.Semaphore(config.max_pool_connections)
        self._filesystem.retries = 1
        self._known: set[int] = set()

    def run(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._filesystem.loop)

    async def call(self, operation: str, limits: RetryLimits, parameters: dict[str, Any]) -> dict[str, Any]:
        pause, attempts, first_failure = limits.first_pause_seconds, 0, 0.0
        while True:
            attempts += 1
            try:
                async with self._slots:
                    answer = await self._attempt(operation, limits.stall_seconds, parameters)
                answer["ResponseMetadata"]["RetryAttempts"] = attempts - 1
                return answer
            except Exception as exc:
                failure = S3Failure(operation, exc)
                failure.attempts = attempts
                now = time.monotonic()
                first_failure = first_failure or now
                if not failure.passing or now + pause > min(first_failure + limits.retry_seconds, shutdown_deadline()):
                    raise failure from exc
            # Writers that failed together do not come back together.
            await _pause(pause * random.uniform(0.75, 1.0))  # noqa: S311 -- no secret
            pause = min(2 * pause, limits.longest_pause_seconds)

    async def presigned(self, operation: str, seconds: int, parameters: dict[str, Any]) -> str:
        try:
            client = await self._botocore_client(parameters["Bucket"])
            url = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
            return cast("str", await url)
        except Exception as exc:
            raise S3Failure(operation, exc) from exc

    async def _attempt(self, operation: str, stall_seconds: float, parameters: dict[str, Any]) -> dict[str, Any]:
        """One try, ended when nothing has moved for too long, or the process must end."""
        progress, last = _Progress(parameters.get("Body")), time.monotonic() + _LAST_ATTEMPT_SECONDS
        trying = asyncio.ensure_future(self._once(operation, parameters, progress))
        try:
            while not trying.done():
                left = min(progress.moved_at + stall_seconds, max(shutdown_deadline(), last)) - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no byte moved")
                await asyncio.wait([trying], timeout=min(left, _LOOK_SECONDS))
        except BaseException:
            trying.cancel()
            await asyncio.wait([trying])  # its connection is closed when it ends, and not before
            if not trying.cancelled():
                trying.exception()  # has been seen
            raise
        return trying.result()

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
            # botocore asks for leave (100-continue) before it sends a file-like body, and aiohttp waits for that answer
            # for ever; not every server and gateway gives it.
            client.meta.events.register_last("before-call.s3", _without_asking)
            self._known.add(id(client))
        return client


async def _pause(seconds: float) -> None:
    """Until then, or until the process must end."""
    until = time.monotonic() + seconds
    while (left := min(until, shutdown_deadline()) - time.monotonic()) > 0:  # noqa: ASYNC110 - another thread says when it ends
        await asyncio.sleep(min(left, _LOOK_SECONDS))


class _Progress:
    """When a byte last moved."""

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


async def _received(answer: dict[str, Any], asked: str, progress: _Progress) -> bytearray:
    """The body for the range *asked*, as long as it says. Raises `OSError` for one that was cut."""
    stream, expected = answer["Body"], int(answer["ContentLength"])
    first, _, last = asked.removeprefix("bytes=").partition("-")
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
            f"s3:// storage does not take these options: {', '.join(sorted(options))}; they are those of "
            "s3fs.S3FileSystem (key, secret, endpoint_url, client_kwargs, config_kwargs, s3_additional_kwargs, ...)"
        ) from exc


def _without_asking(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


def _with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """*options* with what they leave open; what they say stands."""
    dict(options.get("s3_additional_kwargs") or {})  # looked at only later, and not by s3fs alone
    config: dict[str, Any] = dict(options.get("config_kwargs") or {})
    config.setdefault("max_pool_connections", MAX_CONNECTIONS)
    config.setdefault("connect_timeout", 5)
    # The watch over bytes that move is stricter, and knows which call may take longer.
    config.setdefault("read_timeout", 300)
    config.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
    # The signature covers the sha256 of every body, and S3 refuses a body that does not fit it: the strongest check
    # there is, and one that every server of the last ten years makes. The newer checksums beside it would be a second
    # pass, in an encoding (aws-chunked, with trailers) that many servers do not read.
    config.setdefault("request_checksum_calculation", "when_required")
    config.setdefault("response_checksum_validation", "when_required")
    config["s3"] = {"payload_signing_enabled": True, **(config.get("s3") or {})}
    if not options.get("anon"):
        config.setdefault("signature_version", "s3v4")
    return {**options, "config_kwargs": config}
