"""Public addresses, and addresses that a webhook must not reach; pure.

The lists are IANA's special-purpose registries (RFC 6890 and its updates) and multicast, applied strictly: of IPv6 only
global unicast is public. `ipaddress.is_global` is not used, since its meaning changes with the version of Python.
Addresses that contain an IPv4 address are checked by that one too: a gateway on the path would extract it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_REFUSED_IPV4: dict[IPNetwork, str] = {
    IPv4Network("0.0.0.0/8"): "this host",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "carrier-grade NAT",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local, and the metadata services of clouds",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "protocol assignments",
    IPv4Network("192.0.2.0/24"): "documentation",
    IPv4Network("192.88.99.0/24"): "6to4 relays",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("198.18.0.0/15"): "benchmarks",
    IPv4Network("198.51.100.0/24"): "documentation",
    IPv4Network("203.0.113.0/24"): "documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED_IPV6: dict[IPNetwork, str] = {
    IPv6Network("2001::/23"): "protocol assignments",
    IPv6Network("2001:db8::/32"): "documentation",
    IPv6Network("2002::/16"): "6to4",
    IPv6Network("3fff::/20"): "documentation",
}

# Translated by the host itself or by NAT64: packets reach the IPv4 address and no other.
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
# Unspecified and loopback are within the former "IPv4-compatible" network, but contain no IPv4 address.
_COMPATIBLE = IPv6Network("::/96")
_NOT_COMPATIBLE = IPv6Network("::/127")

_LOW_32_BITS = 0xFFFF_FFFF


def refusal(address: IPAddress, allowed: Sequence[IPNetwork] = ()) -> str | None:
    """Return why *address* must not be reached, such as ``10.0.0.0/8, private``; None if it may be.

    Addresses in the *allowed* networks may be reached. An address that contains another one needs both to be allowed.
    """
    if isinstance(address, IPv4Address):
        return None if _contains(allowed, address) else _listed(address, _REFUSED_IPV4)
    if address in _MAPPED or address in _NAT64:
        return refusal(IPv4Address(int(address) & _LOW_32_BITS), allowed)
    if not _contains(allowed, address):
        if address not in _GLOBAL_UNICAST:
            return f"outside of {_GLOBAL_UNICAST}, not public"
        if listed := _listed(address, _REFUSED_IPV6):
            return listed
    # Allowing a tunnel's network does not allow the addresses behind the tunnel.
    return next((why for inner in _tunnelled(address) if (why := refusal(inner, allowed))), None)


def _tunnelled(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses to which a tunnel would send a packet for *address*."""
    if address in _COMPATIBLE and address not in _NOT_COMPATIBLE:
        return [IPv4Address(int(address) & _LOW_32_BITS)]
    return [*(address.teredo or ()), *([address.sixtofour] if address.sixtofour else [])]


def _contains(networks: Sequence[IPNetwork], address: IPAddress) -> bool:
    return any(address in network for network in networks)


def _listed(address: IPAddress, networks: Mapping[IPNetwork, str]) -> str | None:
    return next((f"{network}, {name}" for network, name in networks.items() if address in network), None)
