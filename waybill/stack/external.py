"""A Prefect server that the user has named in `PREFECT_API_URL`: checked, never started or stopped."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version

import httpx

from blocks.errors import StackUnavailable
from blocks.redaction import without_query
from blocks.settings import inherited_environment
from waybill.stack.caller_environment import LOOPBACK

# Prefect's default is 1. With 200 no record was lost at 50 task runs a second; far below it the server falls behind.
_SMALLEST_BATCH = 100
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# No answer, an address or credentials that cannot be sent, or (`ValueError`) an answer that is not JSON.
_UNREACHABLE = (httpx.HTTPError, httpx.InvalidURL, ValueError)


def check_prefect_api(api_url: str, *, within_seconds: float) -> None:
    """Raise `StackUnavailable` unless a Prefect API answers at *api_url* and takes the user's credentials.

    Those are the environment's, or else the ones of the user's Prefect profile. *within_seconds* bounds the wait for a
    connection, and for each part of an answer.
    """
    if not api_url.lower().startswith(("http://", "https://")):
        raise StackUnavailable("PREFECT_API_URL must be an http or https address, such as http://127.0.0.1:4200/api")
    server = f"the Prefect server of PREFECT_API_URL ({without_query(api_url)})"
    try:
        answer = _count_flows(api_url, _in_environment(), within_seconds)
        if answer.status_code in _REFUSED and "authorization" not in answer.request.headers:
            answer = _count_flows(api_url, _in_profile(), within_seconds)
    except _UNREACHABLE as exc:
        why = str(exc) or type(exc).__name__
        raise StackUnavailable(
            f"{server} cannot be reached: {why}; start it, or unset PREFECT_API_URL to have one started"
        ) from exc
    if answer.status_code in _REFUSED:
        why = "refuses the credentials" if "authorization" in answer.request.headers else "asks for credentials"
        raise StackUnavailable(
            f"{server} {why}: set PREFECT_API_AUTH_STRING to those of a server of your own (that of 'waybill up' has "
            "them in prefect-api-auth in its home), or PREFECT_API_KEY for Prefect Cloud"
        )
    if not answer.is_success:
        raise StackUnavailable(f"{server}: it answers {answer.status_code}; {_why_not(api_url, within_seconds)}")


def lost_records_warning(api_url: str, *, within_seconds: float) -> str | None:
    """Return a warning when the server at *api_url* appears to write task runs in batches that are too small.

    None when the batches are large enough, and when the server does not show its settings, as Prefect Cloud.
    """
    try:
        with _client(api_url, _in_environment(), within_seconds) as client:
            settings = client.get("/admin/settings").raise_for_status().json()
        size = int(settings["server"]["services"]["task_run_recorder"]["batch_size"])
    except (*_UNREACHABLE, TypeError, KeyError):
        return None
    if size >= _SMALLEST_BATCH:
        return None
    return (
        f"the Prefect server of PREFECT_API_URL ({without_query(api_url)}) writes task runs in batches of {size}: "
        "during a large run it can lose the records of stages. No document is lost by that. Start that server with "
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=200 and "
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE=500"
    )


def _why_not(api_url: str, within_seconds: float) -> str:
    """Return what is wrong with a server that does not know the simplest call of the API."""
    if not httpx.URL(api_url).path.rstrip("/").endswith("/api"):
        return "a Prefect API address usually ends in /api"
    ours = version("prefect")
    try:
        with _client(api_url, _in_environment(), within_seconds) as client:
            theirs = client.get("/admin/version").raise_for_status().json()
    except _UNREACHABLE:
        theirs = None
    if not isinstance(theirs, str):
        return "it is no Prefect server, or one that is not ready"
    return f"it is Prefect {theirs[:20]}, and this Waybill is made for {ours}: use a server of that version"


@dataclass(frozen=True, kw_only=True)
class _Credentials:
    api_key: str | None
    auth_string: str | None


def _in_environment() -> _Credentials:
    given = inherited_environment()
    return _Credentials(api_key=given.get("PREFECT_API_KEY"), auth_string=given.get("PREFECT_API_AUTH_STRING"))


def _in_profile() -> _Credentials:
    # Importing it takes a second, and most servers are named with everything they need in the environment.
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    return _Credentials(api_key=PREFECT_API_KEY.value(), auth_string=PREFECT_API_AUTH_STRING.value())


def _count_flows(api_url: str, credentials: _Credentials, within_seconds: float) -> httpx.Response:
    with _client(api_url, credentials, within_seconds) as client:
        # Not /health: that answers without credentials. This is the cheapest call that does not.
        return client.post("/flows/count", json={})


def _client(api_url: str, credentials: _Credentials, within_seconds: float) -> httpx.Client:
    headers: dict[str, str] = {}
    auth: tuple[str, str] | None = None
    # As Prefect's own client chooses.
    if login := credentials.auth_string:
        user, _, password = login.partition(":")
        auth = (user, password)
    elif key := credentials.api_key:
        headers["Authorization"] = f"Bearer {key}"
    # The system's certificates, and not only those that httpx ships with.
    trusted = ssl.create_default_context()
    return httpx.Client(
        base_url=api_url,
        headers=headers,
        auth=auth,
        timeout=within_seconds,
        verify=trusted,
        # A proxy of the environment is for other machines.
        trust_env=httpx.URL(api_url).host not in LOOPBACK,
    )
