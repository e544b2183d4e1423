"""The gateway's URL, which links begin with.

`WAYBILL_PUBLIC_URL` where it is set. Otherwise the gateway of this home writes its URL to a file, so that links of
other commands have the right port. The file survives a killed gateway: the next one will likely have the same URL.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blocks.base_url import is_base_url
from blocks.errors import InvalidSettings
from blocks.settings import Settings


def public_url(settings: Settings) -> str:
    """Return the URL that links begin with, without a slash at its end. Raises `InvalidSettings`."""
    if "public_url" not in settings.given:
        noted = _read(_note(settings.home))
        with suppress(InvalidSettings):
            return check_public_url(noted or settings.public_url)
    return check_public_url(settings.public_url)


def note_gateway(home: Path, url: str) -> Callable[[], None]:
    """Record *url* for other commands of *home*; return a function that undoes it. Raises `OSError`."""
    path = _note(home)
    before = _read(path)
    path.write_text(f"{url}\n", encoding="ascii")

    def forget() -> None:
        # Another gateway of this home may have recorded its URL since, or may have been running before this one.
        with suppress(OSError):
            if _read(path) == url:
                if before is None or before == url:
                    path.unlink()
                else:
                    path.write_text(f"{before}\n", encoding="ascii")

    return forget


def noted_gateway(home: Path) -> str | None:
    """Return the URL of the gateway that this home has noted last, None where it has noted none."""
    return _read(_note(home))


def check_public_url(url: str) -> str:
    """Return *url* without a slash at its end. Raises `InvalidSettings` unless links can begin with it."""
    if not is_base_url(url):
        raise InvalidSettings(
            "WAYBILL_PUBLIC_URL is not a URL that links can begin with; write https://host or https://host:port/path, "
            "without user, query or fragment"
        )
    return url.rstrip("/")


def _read(note: Path) -> str | None:
    with suppress(OSError, ValueError):
        return note.read_text(encoding="ascii").strip() or None
    return None


def _note(home: Path) -> Path:
    return home / "gateway-url"
