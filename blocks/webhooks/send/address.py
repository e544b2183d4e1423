"""Where webhooks may go: the form of a URL, and the addresses that its host name leads to.

Owns the decision; `blocks.webhooks.send.networks` has the lists. A URL has one spelling for each address here: whatever
some parser on the way might read as another one (``127.1``, ``0x7f.1``, full-width digits, user names) is refused
before it is judged. Never sends anything to the host itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from blocks.errors import AddressRefused, HostUnresolved, InvalidWebhookUrl
from blocks.settings import PrivateNetworks
from blocks.webhooks.send.host_lookup import system_resolver
from blocks.webhooks.send.networks import IPAddress, refusal

Resolver = Callable[[str], Awaitable[Sequence[IPAddress]]]
"""Gives the addresses of a host name, best first. Raises `HostUnresolved` when there are none or nobody answers."""

# What browsers, proxies and servers agree on.
MAX_URL_CHARS = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986, without user names and fragments, which have no place in a webhook.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<target>[/?].*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")
# Labels as in RFC 1123, and underscores, which container networks have in their names.
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# A last label like this makes inet_aton and browsers read the whole as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """A URL in its parts. `address` is set where the host is no name but an address."""

    scheme: str
    host: str
    port: int
    address: IPAddress | None


class AddressGuard:
    """Refuses every address that is not public, but for the networks in *allowed*."""

    def __init__(self, allowed: PrivateNetworks = (), *, resolve: Resolver = system_resolver) -> None:
        self._allowed = allowed
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """Judge what can be judged without DNS. Raises `InvalidWebhookUrl`, and `AddressRefused` for an address."""
        parsed = parse_webhook_url(url)
        if parsed.address is not None:
            self._vet(parsed.host, [parsed.address])

    async def check(self, url: str) -> None:
        """`check_url`, and the same for what DNS answers now. Raises `InvalidWebhookUrl` also for an unknown name."""
        self.check_url(url)
        parsed = parse_webhook_url(url)
        try:
            await self.addresses(parsed.host)
        except HostUnresolved as exc:
            raise InvalidWebhookUrl(f"no webhook can be sent to this URL: {exc}") from exc

    async def addresses(self, host: str) -> Sequence[IPAddress]:
        """Where to connect to for *host*: asked once, all of them vetted, never empty.

        One refused address refuses the host: who mixes public and private ones is trying something. Connect to one of
        these and to nothing else; a second look-up could answer differently. Raises `HostUnresolved` and
        `AddressRefused`.
        """
        literal = _literal(host)
        found = [literal] if literal is not None else await self._resolve(host)
        if not found:
            raise HostUnresolved(f"DNS knows no address for {host}")
        self._vet(host, found)
        return found

    def _vet(self, host: str, addresses: Sequence[IPAddress]) -> None:
        for address in addresses:
            if why := refusal(address, self._allowed):
                raise AddressRefused(
                    f"webhooks must not reach {address} ({why})"
                    f"{'' if host == str(address) else f', which is what {host} leads to'}; "
                    "if they are meant to, allow its network: WAYBILL_ALLOW_PRIVATE_WEBHOOKS"
                )


def parse_webhook_url(url: str) -> WebhookUrl:
    """Take *url* apart. Raises `InvalidWebhookUrl`, saying what to write instead; never quotes more than the host."""
    if len(url) > MAX_URL_CHARS:
        raise _invalid(f"it is longer than {MAX_URL_CHARS} characters")
    if not url.isascii():
        raise _invalid("it may only hold ASCII; write international names as xn--..., and anything else as %XX")
    if any(char <= " " or char in "\x7f\\" for char in url):
        raise _invalid("it holds a blank, a backslash or a control character")
    if "#" in url:
        raise _invalid("leave out the # and what follows; it is never sent")
    if (found := _URL.fullmatch(url)) is None or found["scheme"].lower() not in _DEFAULT_PORTS:
        raise _invalid("it has to begin with https:// or http://")
    scheme, authority = found["scheme"].lower(), found["authority"]
    if "@" in authority:
        raise _invalid("leave out the user name and password; a webhook is authenticated by its signature")
    if (parts := _AUTHORITY.fullmatch(authority)) is None:
        raise _invalid("what stands behind :// has to be HOST or HOST:PORT")
    port = int(parts["port"]) if parts["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise _invalid(f"{port} is no port; ports go from 1 to 65535")
    host, address = _host(parts["host"].lower())
    return WebhookUrl(scheme=scheme, host=host, port=port, address=address)


def _host(host: str) -> tuple[str, IPAddress | None]:
    if host.startswith("["):
        if "%" in host:
            raise _invalid(f"{host} names an interface of one machine; leave out the % and what follows")
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise _invalid(f"{host} is no IPv6 address") from None
        return str(address), address
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        try:
            address = IPv4Address(host)
        except ValueError:
            raise _invalid(
                f"{host} is no IPv4 address; write it as four decimal numbers, such as 203.0.113.7"
            ) from None
        return host, address
    if _NAME.fullmatch(host) is None:
        raise _invalid(
            "its host is no name that DNS could know, such as hooks.example.com" if host else "it has no host"
        )
    return host, None


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _invalid(why: str) -> InvalidWebhookUrl:
    return InvalidWebhookUrl(f"no webhook can be sent to this URL: {why}")
