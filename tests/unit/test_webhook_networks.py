"""Which addresses are public: each range by its first and last address and its neighbours (W12)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.webhooks.send.networks import IPAddress, refusal

REFUSED_IPV4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
REFUSED_IPV6 = [
    "::/128",
    "::1/128",
    "::/3",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/3",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
ALL_IPV4 = (ip_network("0.0.0.0/0"),)
EVERYTHING = (*ALL_IPV4, ip_network("::/0"))

ipv4 = st.integers(min_value=0, max_value=2**32 - 1).map(IPv4Address)
ipv6 = st.integers(min_value=0, max_value=2**128 - 1).map(IPv6Address)


@pytest.mark.parametrize("network", REFUSED_IPV4 + REFUSED_IPV6)
def test_refuses_every_listed_network_from_its_first_to_its_last_address(network: str) -> None:
    listed = ip_network(network)
    middle = ip_address(int(listed.network_address) + listed.num_addresses // 2)
    for address in (listed.network_address, middle, listed.broadcast_address):
        assert refusal(address), address


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0"),
        *("192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
        *("198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
        *("2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "2606:4700::1111", "3ffe:ffff::"),
        *("3fff:1000::", "2a00:1450:4001:830::200e"),
    ],
)
def test_lets_the_public_neighbours_of_each_network_through(address: str) -> None:
    assert refusal(ip_address(address)) is None


@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::"])
@given(inside=ipv4)
def test_judges_translated_addresses_by_the_one_inside(prefix: str, inside: IPv4Address) -> None:
    carried = IPv6Address(int(IPv6Address(prefix)) | int(inside))
    for allowed in ((), (ip_network("10.0.0.0/8"),), (ip_network(f"{prefix}/96"),)):
        assert refusal(carried, allowed) == refusal(inside, allowed)


@pytest.mark.parametrize(
    "address",
    [
        "::127.0.0.1",  # IPv4-compatible
        "::8.8.8.8",
        "2002:7f00:1::",  # 6to4
        "2002:808:808::1",
        "2001:0:7f00:1::",  # Teredo by its server
        "2001::80ff:fffe",  # Teredo by its client, 127.0.0.1 inverted
    ],
)
def test_refuses_tunnels_whatever_is_inside(address: str) -> None:
    assert refusal(ip_address(address))


@pytest.mark.parametrize(
    ("address", "tunnel"),
    [("2002:a00:1::", "2002::/16"), ("2001:0:a00:1::f7f7:f7f7", "2001::/32"), ("::10.0.0.1", "::/96")],
)
def test_a_tunnel_that_is_allowed_does_not_open_what_it_leads_to(address: str, tunnel: str) -> None:
    opened = ip_network(tunnel)
    assert refusal(ip_address(address), (opened,))
    assert refusal(ip_address(address), (opened, ip_network("10.0.0.0/8"))) is None


def test_the_allow_list_opens_the_named_networks_and_no_others() -> None:
    loopback = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    for address in ("127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "8.8.8.8"):
        assert refusal(ip_address(address), loopback) is None
    for address in ("10.0.0.1", "169.254.169.254", "::", "::2", "::ffff:10.0.0.1", "fd00::1"):
        assert refusal(ip_address(address), loopback)


@given(st.one_of(ipv4, ipv6))
def test_on_opens_everything(address: IPAddress) -> None:
    assert refusal(address, EVERYTHING) is None


@given(ipv6)
def test_nothing_outside_of_global_unicast_is_public(address: IPv6Address) -> None:
    inside = any(address in ip_network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96"))
    if address not in ip_network("2000::/3") and not inside:
        assert refusal(address)


@given(ipv4)
def test_agrees_with_python_on_what_is_not_global(address: IPv4Address) -> None:
    """A second opinion: whatever `ipaddress` calls private, multicast or reserved is refused here too."""
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert refusal(address)
    if refusal(address) is None:
        assert address.is_global


def test_says_which_network_it_is() -> None:
    assert refusal(ip_address("169.254.169.254")) == ("169.254.0.0/16, link-local, and the metadata services of clouds")
