"""Texts without the credentials that they hold: URLs and messages as they may be shown, stored or sent; pure."""

from __future__ import annotations

import re
from uuid import UUID

# A file already in custody, by its id and, where the caller knows it, its name: waybill:6f1c.../report.pdf
CUSTODY_SCHEME = "waybill:"

# To the last "@" of the authority, as those read it who connect: a password may hold some.
_PASSWORD = re.compile(r"(://[^/?#@:]*):[^/?#]*@")
# Parameters that let whoever has the URL read the file: those of S3, Google, Azure and CloudFront, and usual names.
_SIGNATURE = re.compile(
    r"([?&](?:[^=&#\s]*[-_])?(?:signature|sig|credential|security-token|token|(?:aws)?accesskeyid|access_?key|api_?key|key-pair-id"
    r"|policy|secret|password|auth|code)=)[^&#\s]+",
    re.IGNORECASE,
)


def without_password(url: str) -> str:
    """*url* as it may be shown and stored: ``sftp://user@host/file``."""
    return _PASSWORD.sub(r"\1@", url)


def without_signature(url: str) -> str:
    """*url* as it may leave the house: the values of parameters that give access are stars."""
    return _SIGNATURE.sub(r"\1***", url)


def custody_source(file_id: UUID, source_file: str) -> str:
    """The source text that names a file in custody, and what `display_source` gives for it."""
    return f"{CUSTODY_SCHEME}{file_id}/{source_file}"


def display_source(source: str) -> str:
    """How *source* is told: a file in custody by where it came from, if that was said with it."""
    return source.partition("/")[2] or source if source.startswith(CUSTODY_SCHEME) else source


def redacted_source(source: str) -> str:
    """*source* as it is told, without passwords and signatures: what is told leaves the house."""
    told = display_source(source)
    return without_signature(without_password(told)) if "://" in told else told
