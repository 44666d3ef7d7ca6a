"""Which addresses may be requested: a source's own hosts by https, at public IP addresses, or a configured mirror.

The host is checked before the request and at every redirect. The IP address is checked at the socket, right before the
connection. So a name server that gives another answer the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Collection, Mapping

from yarl import URL

from spotlightd.clients.http.special_ranges import is_special
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.redact import mask_address, remove_forms
from spotlightd.settings.describe import show_text

EXACT = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_REMEDY = "write host = address in [publisher.mirrors], such as \"www.sec.gov\" = 'http://127.0.0.1:8090'"


class PrivateAddressError(OSError):
    """A host name resolved to an address that is not on the public internet."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is not a public address")


def check_address(url: str, hosts: Collection[str]) -> URL:
    """The parsed address. PublisherError unless a source with these hosts may request it."""
    try:
        address = _parse(url)
        port = address.port
    except ValueError as problem:
        raise PublisherError(f"{format_address(url)} is not an address: {problem}") from None
    if address.scheme != "https":
        raise PublisherError(f"{format_address(url)} is not https: not requested")
    if address.user is not None or address.password is not None:
        raise PublisherError(f"an address at {address.host} contains a user name or password: not requested")
    if address.host not in hosts or port != 443:  # noqa: PLR2004  the port of https
        raise PublisherError(
            f"{format_address(url)} is not at a host of the source ({', '.join(hosts)}): not requested"
        )
    return address.with_fragment(None)


def resolve_redirect(target: URL, location: str, hosts: Collection[str]) -> URL:
    """The target of a redirect, resolved against the publisher's own address even when a mirror answered."""
    try:
        return check_address(str(target.join(_parse(location))), hosts)
    except (PublisherError, ValueError) as problem:
        raise PublisherError(f"{format_address(str(target))} was redirected: {problem}") from None


def _parse(url: str) -> URL:
    """An address. A well-formed one keeps its escapes as written, because some signatures cover them."""
    return URL(url, encoded=EXACT.fullmatch(url) is not None)


def format_address(url: str) -> str:
    """An address for a message: one line, cut to 200 characters, without a password or a token."""
    plain = "".join(char if char.isprintable() else "?" for char in url)
    plain = remove_forms(re.sub(r"//[^/]*@", "//…@", plain))
    return plain if len(plain) <= 200 else f"{plain[:200]}…"  # noqa: PLR2004  more than any real one


def parse_mirrors(mirrors: Mapping[str, str]) -> dict[str, URL]:
    """The mirrors of the settings by host. SettingsError names one that is unusable."""
    return {host.lower(): _base(host, text) for host, text in mirrors.items()}


def _base(host: str, text: str) -> URL:
    try:
        base = URL(text)
        usable = base.scheme in ("http", "https") and bool(base.host) and bool(base.port)
    except ValueError:
        usable = False
    if not usable or base.query_string or base.fragment or base.user is not None:
        raise SettingsError(
            f"publisher.mirrors: {mask_address(text)!r} cannot be the mirror of {show_text(host)}; {_REMEDY}"
        )
    return base


def mirror_address(address: URL, mirrors: Mapping[str, URL]) -> URL | None:
    """The mirror's address with the same path and query, or None for a host that has no mirror."""
    base = mirrors.get(address.host or "")
    if base is None:
        return None
    return URL(str(base).rstrip("/") + address.raw_path_qs, encoded=True)


def is_public(text: str) -> bool:
    """Whether an IP address is on the public internet. An IPv4 address embedded in an IPv6 address counts."""
    return not is_special(ipaddress.ip_address(re.sub("%.*", "", text)))


def open_public_socket(
    info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str | int, ...]],
) -> socket.socket:
    """A socket for that address, for aiohttp's connector. PrivateAddressError if the address is not public."""
    family, kind, protocol, _, target = info
    if not is_public(str(target[0])):
        raise PrivateAddressError(str(target[0]))
    return socket.socket(family=family, type=kind, proto=protocol)
