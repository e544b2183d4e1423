"""Decide where webhooks may be sent: the form of a URL, and the addresses of its host name.

Accepts only one spelling of each address: what some parser might read as another address (``127.1``, ``0x7f.1``,
full-width digits, user names) is refused before the address is checked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from blocks.errors import AddressRefused, HostUnresolved, InvalidWebhookUrl
from blocks.settings import PrivateNetworks, Settings
from blocks.webhooks.send.host_lookup import system_resolver
from blocks.webhooks.send.networks import IPAddress, refusal

Resolver = Callable[[str], Awaitable[Sequence[IPAddress]]]
"""Returns the addresses of a host name, best first. Raises `HostUnresolved` when there are none, or no answer."""

LOOPBACK: PrivateNetworks = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

# Browsers, proxies and servers all accept this.
MAX_URL_CHARS = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986, without user names and fragments, which webhooks do not use.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<target>[/?].*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")
# Labels as in RFC 1123, and with underscores, which occur in names of container networks.
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# With such a last label, inet_aton and browsers read the whole host as an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """A URL in its parts. `address` is set when the host is an address and not a name."""

    scheme: str
    host: str
    port: int
    address: IPAddress | None


class AddressGuard:
    """Refuses every address that is not public, except in the networks *allowed*."""

    def __init__(self, allowed: PrivateNetworks = (), *, resolve: Resolver = system_resolver) -> None:
        self._allowed = allowed
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """Check what needs no DNS. Raises `InvalidWebhookUrl`, and `AddressRefused` for an address."""
        parsed = parse_webhook_url(url)
        if parsed.address is not None:
            self._check(parsed.host, [parsed.address])

    async def check(self, url: str) -> None:
        """Do `check_url`, and check the addresses in DNS. Raises `InvalidWebhookUrl` also for an unknown name."""
        self.check_url(url)
        parsed = parse_webhook_url(url)
        try:
            await self.addresses(parsed.host)
        except HostUnresolved as exc:
            raise InvalidWebhookUrl(f"no webhook can be sent to this URL: {exc}") from exc

    async def addresses(self, host: str) -> Sequence[IPAddress]:
        """Look *host* up once, check every address, and return them; never empty.

        One refused address refuses the host: a mixture of public and private addresses suggests an attack. Connect to
        one of these and to no other; a second look-up could answer differently. Raises `HostUnresolved` and
        `AddressRefused`.
        """
        literal = _literal(host)
        found = [literal] if literal is not None else await self._resolve(host)
        if not found:
            raise HostUnresolved(f"DNS knows no address for {host}")
        self._check(host, found)
        return found

    def _check(self, host: str, addresses: Sequence[IPAddress]) -> None:
        for address in addresses:
            if why := refusal(address, self._allowed):
                raise AddressRefused(
                    f"webhooks must not reach {address} ({why})"
                    f"{'' if host == str(address) else f', an address of {host}'}; "
                    "to permit it, add its network to WAYBILL_ALLOW_PRIVATE_WEBHOOKS"
                )


def guard_of(settings: Settings, *, loopback_allowed: bool = False) -> AddressGuard:
    """Return the guard of an endpoint; *loopback_allowed* as in its row of the catalogue.

    WAYBILL_ALLOW_PRIVATE_WEBHOOKS decides alone where it is set, be it to ``off``.
    """
    if loopback_allowed and "allow_private_webhooks" not in settings.given:
        return AddressGuard(LOOPBACK)
    return AddressGuard(settings.allow_private_webhooks)


async def is_on_this_machine(url: str, *, resolve: Resolver = system_resolver) -> bool:
    """Return whether all addresses of the URL's host are loopback. False for a URL or a name that is of no use."""
    try:
        parsed = parse_webhook_url(url)
        found = [parsed.address] if parsed.address is not None else await resolve(parsed.host)
    except (InvalidWebhookUrl, HostUnresolved):
        return False
    return bool(found) and all(any(address in network for network in LOOPBACK) for address in found)


def parse_webhook_url(url: str) -> WebhookUrl:
    """Split *url*. Raises `InvalidWebhookUrl`, which says what to write instead and quotes no more than the host."""
    if len(url) > MAX_URL_CHARS:
        raise _invalid(f"it is longer than {MAX_URL_CHARS} characters")
    if not url.isascii():
        raise _invalid("it may only contain ASCII; write international names as xn--..., and anything else as %XX")
    if any(char <= " " or char in "\x7f\\" for char in url):
        raise _invalid("it contains a space, a backslash or a control character")
    if "#" in url:
        raise _invalid("leave out the fragment (# and everything after it); it is never sent")
    if (found := _URL.fullmatch(url)) is None or found["scheme"].lower() not in _DEFAULT_PORTS:
        raise _invalid("it must begin with https:// or http://")
    scheme, authority = found["scheme"].lower(), found["authority"]
    if "@" in authority:
        raise _invalid("leave out the user name and password; a webhook is authenticated by its signature")
    if (parts := _AUTHORITY.fullmatch(authority)) is None:
        raise _invalid("after :// it must have HOST or HOST:PORT")
    port = int(parts["port"]) if parts["port"] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise _invalid(f"{port} is not a port; ports are 1 to 65535")
    host, address = _host(parts["host"].lower())
    return WebhookUrl(scheme=scheme, host=host, port=port, address=address)


def _host(host: str) -> tuple[str, IPAddress | None]:
    if host.startswith("["):
        if "%" in host:
            raise _invalid(f"{host} names an interface of one machine; leave out the zone (% and everything after it)")
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise _invalid(f"{host} is not an IPv6 address") from None
        return str(address), address
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        try:
            address = IPv4Address(host)
        except ValueError:
            raise _invalid(
                f"{host} is not an IPv4 address; write it as four decimal numbers, such as 203.0.113.7"
            ) from None
        return host, address
    if _NAME.fullmatch(host) is None:
        raise _invalid("its host is not a valid DNS name, such as hooks.example.com" if host else "it has no host")
    return host, None


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _invalid(why: str) -> InvalidWebhookUrl:
    return InvalidWebhookUrl(f"no webhook can be sent to this URL: {why}")
