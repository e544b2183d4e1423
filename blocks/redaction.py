"""URLs and messages with credentials removed, safe to show, store or send; pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from uuid import UUID

# A file already in custody, by its id and, where the caller knows it, its name: waybill:6f1c.../report.pdf
CUSTODY_SCHEME = "waybill:"
# A list of sources, by the source that holds it: list:/data/letters.txt, list:waybill:6f1c.../letters.txt
LIST_SCHEME = "list:"

# Up to the last "@" of the authority, as clients parse it: a password may contain one.
_PASSWORD = re.compile(r"(://[^/?#@:]*):[^/?#]*@")
# Query parameters that grant access: those of S3, Google, Azure and CloudFront, and common names.
_SIGNATURE = re.compile(
    r"([?&](?:[^=&#\s]*[-_])?(?:signature|sig|credential|security-token|token|(?:aws)?accesskeyid|access_?key|api_?key|key-pair-id"
    r"|policy|secret|password|auth|code)=)[^&#\s]+",
    re.IGNORECASE,
)


def without_password(url: str) -> str:
    """Return *url* without its password, safe to show and store: ``sftp://user@host/file``."""
    return _PASSWORD.sub(r"\1@", url)


def without_signature(url: str) -> str:
    """Return *url* with ``***`` for the value of each parameter that grants access, safe to send to other systems."""
    return _SIGNATURE.sub(r"\1***", url)


def without_query(url: str) -> str:
    """Return *url* without user name, query and fragment, safe to show in a UI: a query often is a key."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "(no URL)"


def custody_source(file_id: UUID, source_file: str) -> str:
    """Return the source text of a file in custody; `display_source` returns *source_file* for it."""
    return f"{CUSTODY_SCHEME}{file_id}/{source_file}"


def list_source(source: str) -> str:
    """Return the source text of the list that *source* holds."""
    return f"{LIST_SCHEME}{source}"


def display_source(source: str) -> str:
    """Return *source* as people see it: for a file in custody the source that it came from, where the text has it.

    Of a list it is the source that holds the list.
    """
    source = source.removeprefix(LIST_SCHEME)
    return source.partition("/")[2] or source if source.startswith(CUSTODY_SCHEME) else source


def redacted_source(source: str) -> str:
    """Return *source* with credentials removed, safe to send to webhook receivers."""
    shown = display_source(source)
    return without_signature(without_password(shown)) if "://" in shown else shown
