"""Ranges of addresses at which no publisher can be, as a table: Python's own lists differ between its releases.

From the Special-Purpose Address Registries of IANA (IPv6: as of 2024-10-22, with 100:0:0:1::/64 of RFC 9780, 2025; IPv4: with
all entries up to the same day), and from its registries of address space: multicast, and for IPv6 everything outside of
2000::/3, which is all that is assigned to unicast. Entries that IANA calls globally reachable are refused too: they are for
protocols (AS112, AMT, anycast of routers), and nobody publishes documents there.
"""

from __future__ import annotations

import ipaddress

IPV4 = tuple(map(ipaddress.IPv4Network, (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared by providers
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, with the metadata of cloud machines
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays, deprecated
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, with 255.255.255.255
)))  # fmt: skip
IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
"""Outside of it are ::/128, ::1/128, IPv4-compatible ::/96, IPv4-translated ::ffff:0:0:0/96, 64:ff9b:1::/48, 100::/64,
100:0:0:1::/64, 5f00::/16, fc00::/7, fe80::/10, fec0::/10 and ff00::/8.
"""
IPV6 = tuple(map(ipaddress.IPv6Network, (
    "2001::/23",  # protocol assignments: Teredo, benchmarks, AMT, AS112, ORCHID, drones
    "2001:db8::/32",  # documentation
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)))  # fmt: skip

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def find_embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is reached through this one; None when there is none."""
    if address in MAPPED or address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF) if address in SIX_TO_FOUR else None


def is_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is in one of the ranges, itself or through an IPv4 address in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in IPV4)
    embedded = find_embedded(address)
    if embedded is not None:
        return is_special(embedded)
    return address not in IPV6_UNICAST or any(address in network for network in IPV6)
