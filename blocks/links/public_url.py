"""Where the gateway can be reached, which is what links begin with.

`WAYBILL_PUBLIC_URL` where the user has set it. Otherwise the gateway of this home has left a note of where it listens,
so that a link that another command makes leads to the right port. The note outlives a gateway that was killed: a link
is better made for where it was and will be again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from blocks.errors import InvalidSettings
from blocks.settings import Settings


def public_url(settings: Settings) -> str:
    """What links begin with, without a slash at its end. Raises `InvalidSettings`."""
    if "public_url" not in settings.model_fields_set:
        noted = _read(_note(settings.home))
        with suppress(InvalidSettings):
            return check_public_url(noted or settings.public_url)
    return check_public_url(settings.public_url)


def note_gateway(home: Path, url: str) -> Callable[[], None]:
    """Let other commands of *home* find the gateway at *url*; returns what takes the note back. Raises `OSError`."""
    path = _note(home)
    before = _read(path)
    path.write_text(f"{url}\n", encoding="ascii")

    def forget() -> None:
        # Another gateway of this home may have begun to listen meanwhile, or have listened all the time.
        with suppress(OSError):
            if _read(path) == url:
                if before is None or before == url:
                    path.unlink()
                else:
                    path.write_text(f"{before}\n", encoding="ascii")

    return forget


def check_public_url(url: str) -> str:
    """*url* as links can begin with it. Raises `InvalidSettings`."""
    try:
        parts = urlsplit(url)
        fits = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.username is None
            and not parts.query
            and not parts.fragment
            and parts.port != 0
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        fits = False
    if not fits:
        raise InvalidSettings(
            "WAYBILL_PUBLIC_URL is not an address that links can begin with; write https://host or "
            "https://host:port/path, without user, query or fragment"
        )
    return url.rstrip("/")


def _read(note: Path) -> str | None:
    with suppress(OSError, ValueError):
        return note.read_text(encoding="ascii").strip() or None
    return None


def _note(home: Path) -> Path:
    return home / "gateway-url"
