"""The settings of a language model server, which worker processes get; pure.

Owns the rules for the address of an OpenAI-compatible server. Refuses addresses that hold a user, a password, a query
or a fragment: the address is part of the stage key and is shown to people, so no secret may be in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from blocks.errors import InvalidSettings

# For one batch of passages in all: the server's computing time, retries and repairs of the answer.
DEFAULT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class LanguageModelSettings:
    """An OpenAI-compatible server, from the `language-model` block. The API key is never part of options or stage keys.

    `base_url` is what stands before ``/chat/completions``. Raises `InvalidSettings`.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        problem = base_url_problem(self.base_url)
        if problem:
            raise InvalidSettings(f"the language model's base_url {problem}")
        if not self.model.strip():
            raise InvalidSettings("the language model has no name; set `model` to the name that the server uses")
        if not 0 < self.timeout_seconds < float("inf"):
            raise InvalidSettings(f"the language model's timeout is {self.timeout_seconds} s; it must be more than 0")


def base_url_problem(url: str) -> str:
    """Return what is wrong with *url* as the address of a server, without quoting it; empty when it is valid."""
    try:
        parts = urlsplit(url)
        port = parts.port  # raises on an invalid port
    except ValueError:
        return "cannot be read as a URL; expected something like http://127.0.0.1:11434/v1"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must begin with http:// or https:// and name a host, like http://127.0.0.1:11434/v1"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password; put the key into api_key"
    if parts.query or parts.fragment or any(char.isspace() or not char.isprintable() for char in url):
        return "must not contain a query, a fragment or white space"
    return ""
