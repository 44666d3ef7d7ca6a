"""Which addresses can be connected to, whatever a name server says."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as some

from spotlightd.clients.http import address
from spotlightd.clients.http.publisher import HttpPublishers
from spotlightd.errors import PublisherError
from spotlightd.settings import sources
from tests.clients.publisher_world import HOME, HOST, batch
from tests.manual_clock import ManualClock


class Names(AbstractResolver):
    """A name server that gives these answers, one after the other; the last stays."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        family = socket.AF_INET6 if ":" in answer else socket.AF_INET
        return [ResolveResult(hostname=host, host=answer, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_a_name_that_leads_to_a_private_address_is_refused_at_the_socket_and_once(private: str) -> None:
    clock = ManualClock()
    async with HttpPublishers(
        sources.PublisherSettings(), clock=clock.to_clock(), resolver=Names(private)
    ) as publishers:
        with pytest.raises(PublisherError) as caught:
            await publishers.for_source(batch()).page(HOME + "/")
    assert str(caught.value) == (
        f"{HOST} resolves to a private address ({private} is not a public address): {HOME}/ not requested; "
        "only a host named in [publisher.mirrors] may be on a private network"
    )
    assert (caught.value.outcome, clock.pauses) == ("failed", [])


async def test_a_source_cannot_name_a_private_address_itself() -> None:
    async with HttpPublishers(sources.PublisherSettings()) as publishers:
        with pytest.raises(PublisherError, match=r"^127\.0\.0\.1 resolves to a private address"):
            await publishers.for_source(batch(hosts=("127.0.0.1",))).page("https://127.0.0.1/")


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "192.0.0.8",
        "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:4136::1",
        "2001:db8::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
        "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "3fff::1", "3fff:fff::1", "100::1", "100:0:0:1::1",
        "5f00::1", "4000::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:20::1", "2001:30::1", "2620:4f:8000::1", "2002:a00:1::1",
        "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.51.100.1", "203.0.113.1", "192.0.0.9", "192.0.0.170",
    ],
)  # fmt: skip
def test_private_and_special_addresses_are_not_public(text: str) -> None:
    assert not address.is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1", "23.45.67.89", "172.15.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1",
    ],
)  # fmt: skip
def test_ordinary_addresses_are_public(text: str) -> None:
    assert address.is_public(text)


@given(some.text())
def test_only_https_at_a_host_of_the_source_is_requested(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{HOST}{text}", f"https://{text}@{HOST}/", f"https://{HOST}:{text}/"):
        with suppress(PublisherError):
            checked = address.check_address(url, (HOST,))
            assert (checked.scheme, checked.host, checked.port, checked.user, checked.password) == (
                "https",
                HOST,
                443,
                None,
                None,
            )


@given(some.text())
def test_no_message_has_more_than_one_line_or_a_password(text: str) -> None:
    formatted = address.format_address(f"https://me:secret@{text}")
    assert formatted.isprintable()
    assert "secret" not in formatted


def test_what_python_calls_private_is_not_public_either() -> None:
    """Its lists, of whatever release, hold nothing that our table lacks."""
    for constants in (ipaddress._IPv4Constants, ipaddress._IPv6Constants):  # type: ignore[attr-defined]
        for network in constants._private_networks:
            if network != ipaddress.ip_network("::ffff:0:0/96"):  # the addresses in it are judged by what they lead to
                assert not address.is_public(str(network[0])), network
                assert not address.is_public(str(network[-1])), network
