"""The page that a browser shows for a transfer's link: what it is, and how it is fetched; pure.

No script, no form and nothing from elsewhere, and the headers say so. A browser that opens the link, and a program that
looks at links before a person does, begin no transfer.
"""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from html import escape

from blocks.naming import clean_display_name

_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #222; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem;
      white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # The link is the secret: no cache may keep the page, and no other site may learn the address.
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # The same address answers programs with bytes.
    "Vary": "Accept",
}
_HEADINGS: Mapping[int, str] = {
    401: "This link is not complete",
    403: "This link is not valid",
    404: "There is nothing here",
    410: "This link does not work any more",
    429: "Too many requests",
}


@dataclass(frozen=True, kw_only=True)
class ShownTransfer:
    """What the page shows. `link` is the whole address with its token."""

    filename: str
    content_size: int | None
    state: str
    expires_at: datetime
    link: str
    with_passphrase: bool


def wants_page(accept: str) -> bool:
    """Return whether a client with this header Accept is a browser: it names HTML, which curl and wget do not."""
    return any(part.partition(";")[0].strip().lower() == "text/html" for part in accept.split(","))


def transfer_page(shown: ShownTransfer) -> str:
    """Return the page of a transfer that can be fetched."""
    name = clean_display_name(shown.filename)
    size = f"{_grouped(shown.content_size)} bytes" if shown.content_size is not None else "not known"
    expires = f"{shown.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    direct = f"{shown.link}{'&' if '?' in shown.link else '?'}download=1"
    # A name that begins with a dash must not become an option.
    plain = f"./{name}" if name.startswith("-") else name
    sealed, link = shlex.quote(f"{plain}.age"), shlex.quote(shown.link)
    opening = "age -d" if shown.with_passphrase else "age -d -i KEY_FILE"
    key = "the passphrase" if shown.with_passphrase else "your key"
    body = [
        _facts([("Size", size), ("Works until", expires), ("State", shown.state.replace("_", " "))]),
        f"<p>The file is encrypted, and {key} opens it. With Waybill, which goes on where a transfer breaks off:</p>",
        _command(f"waybill receive {link}"),
        "<p>With curl and age; after a break the same again continues:</p>",
        _command(f"curl -f -C - -o {sealed} {link} && {opening} -o {shlex.quote(plain)} {sealed}"),
        f'<p>Or <a href="{escape(direct)}" rel="noreferrer">download the encrypted file</a> and open it with age.</p>',
        "<p>The link works for one complete download.</p>",
    ]
    return _page(name, body)


def refusal_page(status: int, message: str) -> str:
    """Return the page for a link that leads to nothing, with the reason."""
    heading = _HEADINGS.get(status, "This did not work")
    return _page(heading, [f"<p>{escape(message[:1].upper() + message[1:])}.</p>"])


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts)}</dl>"


def _command(command: str) -> str:
    return f"<pre>{escape(command)}</pre>"


def _page(heading: str, body: Sequence[str]) -> str:
    title = escape(heading)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")
