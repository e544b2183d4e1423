"""Where webhooks may go: forms, spellings, literal addresses, and what DNS answers (W12)."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import AddressRefused, HostUnresolved, InvalidWebhookUrl
from blocks.settings import PrivateNetworks, Settings
from blocks.webhooks.send.address import MAX_URL_CHARS, AddressGuard, guard_of, is_on_this_machine, parse_webhook_url
from blocks.webhooks.send.host_lookup import MAX_THREADS, SystemResolver, look_up
from blocks.webhooks.send.networks import IPAddress
from tests.stack_driver import PATIENCE_SECONDS

LOOPBACK: PrivateNetworks = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Dns:
    """A resolver that answers in turn, and counts how often it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = [[ip_address(address) for address in answer] for answer in answers]
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://hooks.example.com/a?b=c", "hooks.example.com", 443),
        ("http://hooks.example.com", "hooks.example.com", 80),
        ("HTTPS://Hooks.Example.COM:8443/", "hooks.example.com", 8443),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", 443),
        ("http://my_service.internal-1:8001?x", "my_service.internal-1", 8001),
        ("http://localhost:8001/", "localhost", 8001),
        ("http://8.8.8.8/", "8.8.8.8", 80),
        ("http://[2606:4700:0:0::1111]:1/", "2606:4700::1111", 1),
        ("https://1.2.3.4.example.com/%0d%0a", "1.2.3.4.example.com", 443),
    ],
)
def test_takes_plain_urls_apart(url: str, host: str, port: int) -> None:
    AddressGuard(resolve=Dns()).check_url(url)
    parsed = parse_webhook_url(url)
    assert (parsed.host, parsed.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        # other spellings of addresses
        *(
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://0/",
        ),
        *("http://0177.0.0.1/", "http://127.0.0.01/", "http://0x7F.0x0.0x0.0x1/", "http://134744072/", "http://0x/"),
        *("http://127.0.0.1./", "http://127.0.0.1.:80/", "http://256.0.0.1/", "http://1.2.3.4.5/", "http://-1/"),
        *("http://１２７.0.0.1/", "http://127。0。0。1/", "http://127．0．0．1/", "http://①②⑦.0.0.1/"),
        *("http://%31%32%37.0.0.1/", "http://127%2e0.0.1/", "http://localhos%74/", "http://127.0.0.1%00.example.com/"),
        *(
            "http://[::1%25eth0]/",
            "http://[fe80::1%eth0]/",
            "http://[::1/",
            "http://::1/",
            "http://[]/",
            "http://[::1]x/",
        ),
        *("http://[127.0.0.1]/", "http://[v1.fe80]/", "http://[::1]:0/"),
        # user names
        *("http://user@hooks.example.com/", "http://a:b@hooks.example.com/", "http://hooks.example.com@127.0.0.1/"),
        *("http://@hooks.example.com/", "http://hooks.example.com%40127.0.0.1/", "http://a\\@hooks.example.com/"),
        # schemes and forms
        *("ftp://hooks.example.com/", "file:///etc/passwd", "gopher://hooks.example.com/", "ws://hooks.example.com/"),
        *("hooks.example.com", "//hooks.example.com/", "http:hooks.example.com", "http:/hooks.example.com", ""),
        *("javascript:alert(1)", "unix:///var/run/docker.sock", "http+unix://x/", "://hooks.example.com"),
        # hosts and ports
        *("http://", "http:///", "http://:80/", "http://?x", "http://./", "http://../", "http://.example.com/"),
        *(
            "http://a..b/",
            "http://-a.example/",
            "http://a-.example/",
            "http://example.com./",
            "http://a,b/",
            "http://*/",
        ),
        *("http://hooks.example.com:0/", "http://hooks.example.com:65536/", "http://hooks.example.com:/"),
        *("http://hooks.example.com:80:80/", "http://hooks.example.com:+80/", "http://hooks.example.com:８０/"),
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 130}example/",
        # characters
        *("http://hooks.example.com/\r\nHost: x", "http://hooks.example.com\r\n/", "http://hooks.example.com/\n"),
        *(" http://hooks.example.com/", "http://hooks.example.com/ ", "http://hooks.example.com/a b", "http://a\tb/"),
        *("http://hooks.example.com/\0", "http://hooks.example.com/\x7f", "http:\\\\hooks.example.com/"),
        *("http://hooks.example.com/ü", "http://münchen.example/", "http://hooks.example.com/\udcff"),
        *("http://hooks.example.com/#a", "http://a#@hooks.example.com/"),
        "http://hooks.example.com/" + "a" * MAX_URL_CHARS,
    ],
)
async def test_refuses_every_other_spelling_without_asking_dns(url: str) -> None:
    dns = Dns(["8.8.8.8"])
    # Not even with every network allowed: nobody can be sure what such a URL means.
    guard = AddressGuard((ip_network("0.0.0.0/0"), ip_network("::/0")), resolve=dns)
    with pytest.raises(InvalidWebhookUrl):
        guard.check_url(url)
    with pytest.raises(InvalidWebhookUrl):
        await guard.check(url)
    assert dns.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.255.255.255:8000/", "http://0.0.0.0/", "http://10.1.2.3/", "http://[::1]/"),
        *("http://169.254.169.254/latest/meta-data/", "http://[::]/", "http://[::ffff:127.0.0.1]/"),
        *("http://[::ffff:7f00:1]/", "http://[64:ff9b::10.0.0.1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/"),
        *("http://[fd00::1]/", "http://[fe80::1]/", "http://[2002:7f00:1::]/", "http://[::127.0.0.1]/"),
        *("http://224.0.0.1/", "http://255.255.255.255/", "http://192.0.2.1/", "http://[2001:db8::1]/"),
    ],
)
async def test_refuses_literal_addresses_that_are_not_public(url: str) -> None:
    dns = Dns(["8.8.8.8"])
    guard = AddressGuard(resolve=dns)
    with pytest.raises(AddressRefused):
        guard.check_url(url)
    with pytest.raises(AddressRefused):
        await guard.check(url)
    assert dns.asked == []


@pytest.mark.parametrize(
    ("url", "answer", "expected"),
    [
        ("http://127.0.0.1:8001/hook", [], True),
        ("http://[::1]/", [], True),
        ("http://localhost/", ["::1", "127.0.0.1"], True),
        ("http://10.0.0.1/", [], False),
        ("http://[::ffff:127.0.0.1]/", [], False),
        ("http://a.example/", ["127.0.0.1", "8.8.8.8"], False),
        ("http://a.example/", ["127.0.0.1", "10.0.0.1"], False),
        ("http://a.example/", [], False),
        ("nonsense", [], False),
    ],
)
async def test_knows_the_addresses_of_this_machine(url: str, answer: Sequence[str], expected: bool) -> None:
    assert await is_on_this_machine(url, resolve=Dns(answer)) is expected


@pytest.mark.parametrize(
    ("given", "allowed", "reached"),
    [
        ({}, False, ()),
        ({}, True, ("http://127.0.0.1/", "http://[::1]/")),
        # The setting decides alone.
        ({"allow_private_webhooks": "off"}, True, ()),
        ({"allow_private_webhooks": "10.0.0.0/8"}, True, ("http://10.0.0.1/",)),
        ({"allow_private_webhooks": "loopback"}, False, ("http://127.0.0.1/", "http://[::1]/")),
    ],
)
def test_an_endpoint_reaches_this_machine_by_its_mark_or_by_the_setting(
    given: dict[str, object], allowed: bool, reached: Sequence[str]
) -> None:
    guard = guard_of(Settings(**given), loopback_allowed=allowed)  # pyright: ignore[reportArgumentType]
    for url in ("http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/"):
        if url in reached:
            guard.check_url(url)
        else:
            with pytest.raises(AddressRefused):
                guard.check_url(url)


async def test_refuses_names_that_lead_to_what_is_not_public_at_registration() -> None:
    for answer in (["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["2606:4700::1111", "fe80::1"]):
        guard = AddressGuard(resolve=Dns(answer))
        guard.check_url("http://hooks.example.com/")
        with pytest.raises(AddressRefused, match=r"an address of hooks\.example\.com"):
            await guard.check("http://hooks.example.com/")
    await AddressGuard(resolve=Dns(["8.8.8.8", "2606:4700::1111"])).check("http://hooks.example.com/")


async def test_a_name_without_an_address_cannot_be_registered_and_may_be_tried_again_later() -> None:
    guard = AddressGuard(resolve=Dns([]))
    with pytest.raises(InvalidWebhookUrl, match=r"no address for hooks\.example\.com"):
        await guard.check("http://hooks.example.com/")
    with pytest.raises(HostUnresolved):
        await guard.addresses("hooks.example.com")


async def test_asks_dns_once_for_each_connection_and_never_for_an_address() -> None:
    dns = Dns(["8.8.8.8"], ["127.0.0.1"])
    guard = AddressGuard(resolve=dns)
    assert await guard.addresses("hooks.example.com") == [IPv4Address("8.8.8.8")]
    with pytest.raises(AddressRefused):
        await guard.addresses("hooks.example.com")
    assert await guard.addresses("1.1.1.1") == [IPv4Address("1.1.1.1")]
    assert dns.asked == ["hooks.example.com"] * 2


async def test_the_allow_list_opens_named_networks_only() -> None:
    guard = AddressGuard(LOOPBACK, resolve=Dns(["127.0.0.1", "::1"], ["127.0.0.1", "10.0.0.1"]))
    for url in ("http://127.0.0.1:8001/", "http://[::1]:8001/", "http://[::ffff:127.0.0.1]/"):
        guard.check_url(url)
    await guard.check("http://localhost/")
    with pytest.raises(AddressRefused):
        await guard.check("http://localhost/")
    with pytest.raises(AddressRefused):
        guard.check_url("http://10.0.0.1/")


def test_errors_tell_neither_the_path_nor_the_query() -> None:
    for url in ("http://10.0.0.1/s3cret?s3cret", "http://127.1/s3cret?s3cret", "http://s3cret:s3cret@a/", "s3cret:"):
        with pytest.raises((AddressRefused, InvalidWebhookUrl)) as raised:
            AddressGuard().check_url(url)
        assert "s3cret" not in str(raised.value)


@given(st.text(max_size=40) | st.text(alphabet="0123456789abcfx.:[]%/@?#\\-_", max_size=40).map("http://{}".format))
def test_whatever_is_typed_gives_our_error_or_a_host_that_is_public(url: str) -> None:
    try:
        AddressGuard().check_url(url)
    except (AddressRefused, InvalidWebhookUrl):
        return
    parsed = parse_webhook_url(url)
    assert parsed.address is None or parsed.address.is_global


# The system's resolver ------------------------------------------------------------------------------------------------


async def test_the_system_resolver_knows_this_machine() -> None:
    assert IPv4Address("127.0.0.1") in await SystemResolver()("localhost")


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_a_name_that_no_resolver_takes_gives_our_error(host: str) -> None:
    with pytest.raises(HostUnresolved):
        look_up(host)


async def test_a_silent_name_server_is_waited_for_with_a_bound_and_holds_up_nobody_else() -> None:
    answer, asked = threading.Event(), []

    def lookup(host: str) -> list[IPAddress]:
        asked.append(host)
        if host == "silent.example":
            answer.wait(PATIENCE_SECONDS)
        return [IPv4Address("8.8.8.8")]

    resolver = SystemResolver(timeout_seconds=1, lookup=lookup)
    started = time.monotonic()
    waiting = [asyncio.create_task(resolver("silent.example")) for _ in range(20)]
    for one in waiting:
        with pytest.raises(HostUnresolved, match=r"no answer for silent\.example within 1 s"):
            await one
    assert time.monotonic() - started < 45
    # Its thread still waits, and a busy machine may take longer than a second for the other name.
    resolver._timeout_seconds = PATIENCE_SECONDS
    waiting = [asyncio.create_task(resolver("silent.example")) for _ in range(20)]
    assert await resolver("quick.example") == [IPv4Address("8.8.8.8")]
    assert not any(one.done() for one in waiting)
    # All who waited for the name shared one thread.
    assert asked.count("silent.example") == 1
    answer.set()
    assert await asyncio.gather(*waiting) == [[IPv4Address("8.8.8.8")]] * 20


async def test_silent_names_take_a_bounded_number_of_threads() -> None:
    answer = threading.Event()
    resolver = SystemResolver(
        timeout_seconds=0.5, lookup=lambda _: [IPv4Address("8.8.8.8")] if answer.wait(PATIENCE_SECONDS) else []
    )
    asked = [resolver(f"{number}.example") for number in range(MAX_THREADS + 10)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(result, HostUnresolved) for result in results)
    threads = [thread for thread in threading.enumerate() if re.fullmatch(r"look up \d+\.example", thread.name)]
    assert len(threads) == MAX_THREADS
    answer.set()
    for thread in threads:
        thread.join()
    resolver._timeout_seconds = PATIENCE_SECONDS
    assert await resolver("1.example") == [IPv4Address("8.8.8.8")]
