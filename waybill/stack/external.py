"""A Prefect server that the user has named in `PREFECT_API_URL`: checked, never started or stopped."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from http import HTTPStatus
from urllib.parse import urlsplit

from blocks.errors import StackUnavailable
from blocks.settings import inherited_environment

# A server across an ocean answers in a second or two.
_ANSWER_SECONDS = 10.0
# Prefect's default is 1. With 200 no record was lost at 50 task runs a second; far below it the server falls behind.
_SMALLEST_BATCH = 100


def check_prefect_api(api_url: str) -> None:
    """Raise `StackUnavailable` unless a Prefect API answers at *api_url* and takes the environment's credentials.

    Credentials that only the user's Prefect profile holds are not tried; Prefect's own first call reports wrong ones.
    """
    if urlsplit(api_url).scheme not in {"http", "https"}:
        raise StackUnavailable("PREFECT_API_URL must be an http or https address, such as http://127.0.0.1:4200/api")
    # Not /health: that answers without credentials. This is the cheapest call that does not.
    request = urllib.request.Request(f"{api_url.rstrip('/')}/flows/count", data=b"{}", headers=_headers())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError as exc:
        if exc.code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            if not request.has_header("Authorization"):
                return
            what = "it refuses the credentials; set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
        else:
            what = f"it answers {exc.code}; a Prefect API address usually ends in /api"
        raise StackUnavailable(f"the Prefect server of PREFECT_API_URL ({_shown(api_url)}): {what}") from exc
    except (OSError, ValueError) as exc:
        raise StackUnavailable(
            f"the Prefect server of PREFECT_API_URL ({_shown(api_url)}) cannot be reached: "
            f"{getattr(exc, 'reason', exc)}; start it, or unset PREFECT_API_URL to have one started"
        ) from exc


def lost_records_warning(api_url: str) -> str | None:
    """Return a warning when the server at *api_url* appears to write task runs in batches that are too small.

    None when the batches are large enough, and when the server does not show its settings, as Prefect Cloud.
    """
    request = urllib.request.Request(f"{api_url.rstrip('/')}/admin/settings", headers=_headers())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            size = int(json.load(answer)["server"]["services"]["task_run_recorder"]["batch_size"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if size >= _SMALLEST_BATCH:
        return None
    return (
        f"the Prefect server of PREFECT_API_URL ({_shown(api_url)}) writes task runs in batches of {size}: during a "
        "large run it can lose the records of stages. No document is lost by that. Start that server with "
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=200 and "
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE=500"
    )


def _headers() -> dict[str, str]:
    given = inherited_environment()
    headers = {"Content-Type": "application/json"}
    if key := given.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif login := given.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return headers


def _shown(url: str) -> str:
    """*url* without a password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
