"""Which addresses may be asked: a source's own hosts by https, at public addresses, or the mirror that stands in.

The host list is checked before the request and at every redirect. Where a name leads is checked once more at the
socket, on the very address that is about to be connected to: a name server that answers differently the second time
(rebinding) gains nothing by it.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Collection, Mapping

from yarl import URL

from spotlightd.errors import PublisherError, SettingsError

NAT64 = ipaddress.ip_network("64:ff9b::/96")
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "5f00::/16")))  # unknown to older Pythons
EXACT = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_REMEDY = "write host = address in [publisher.mirrors], such as \"www.sec.gov\" = 'http://127.0.0.1:8090'"


class PrivateAddressError(OSError):
    """A name led to an address that is not on the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is not a public address")


def allowed(url: str, hosts: Collection[str]) -> URL:
    """The address, if it is one that a source with these hosts may ask. PublisherError says why not."""
    try:
        address = _read(url)
        port = address.port
    except ValueError as problem:
        raise PublisherError(f"{shown(url)} is not an address: {problem}") from None
    if address.scheme != "https":
        raise PublisherError(f"{shown(url)} is not https: not asked")
    if address.user is not None or address.password is not None:
        raise PublisherError(f"an address at {address.host} holds a user name or password: not asked")
    if address.host not in hosts or port != 443:  # noqa: PLR2004  the port of https
        raise PublisherError(f"{shown(url)} is not at a host of the source ({', '.join(hosts)}): not asked")
    return address.with_fragment(None)


def moved(target: URL, place: str, hosts: Collection[str]) -> URL:
    """Where a redirect leads, seen from the publisher's own address even when a mirror answered."""
    try:
        return allowed(str(target.join(_read(place))), hosts)
    except (PublisherError, ValueError) as problem:
        raise PublisherError(f"{shown(str(target))} was redirected: {problem}") from None


def _read(url: str) -> URL:
    """An address as it was written, if that is well-formed: escapes that mean the same are part of some signatures."""
    return URL(url, encoded=EXACT.fullmatch(url) is not None)


def shown(url: str) -> str:
    """An address as it may stand in a sentence: one line, not endless, without a password."""
    plain = re.sub(r"//[^/]*@", "//…@", "".join(char if char.isprintable() else "?" for char in url))
    return plain if len(plain) <= 200 else f"{plain[:200]}…"  # noqa: PLR2004  more than any real one


def mirror_bases(mirrors: Mapping[str, str]) -> dict[str, URL]:
    """The mirrors of the settings, checked. SettingsError names the one that cannot be."""
    return {host.lower(): _base(host, text) for host, text in mirrors.items()}


def _base(host: str, text: str) -> URL:
    try:
        base = URL(text)
        usable = base.scheme in ("http", "https") and bool(base.host) and bool(base.port)
    except ValueError:
        usable = False
    if not usable or base.query_string or base.fragment or base.user is not None:
        raise SettingsError(f"publisher.mirrors: {text!r} cannot stand in for {host}; {_REMEDY}")
    return base


def mirrored(address: URL, mirrors: Mapping[str, URL]) -> URL | None:
    """The mirror's address with the same path and query, or None for a host that has no mirror."""
    base = mirrors.get(address.host or "")
    if base is None:
        return None
    return URL(str(base).rstrip("/") + address.raw_path_qs, encoded=True)


def public(text: str) -> bool:
    """Whether an IP address is on the public internet, looking through IPv6 forms that carry an IPv4 address."""
    address = ipaddress.ip_address(re.sub("%.*", "", text))
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return public(str(inner))
        if address.is_site_local or address.teredo is not None:
            return False
    special = any(address in network for network in SPECIAL)
    return address.is_global and not special and not address.is_multicast


def public_socket(
    info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str | int, ...]],
) -> socket.socket:
    """A socket for that address, as the connector asks for; PrivateAddressError if it is not a public one."""
    family, kind, protocol, _, target = info
    if not public(str(target[0])):
        raise PrivateAddressError(str(target[0]))
    return socket.socket(family=family, type=kind, proto=protocol)
