"""Which addresses pictures may be fetched from: global unicast, and the networks that the operator named."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Networks = Sequence[IPv4Network | IPv6Network]

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL: Networks = (
    # What the registries of IANA set aside, as far as not every Python knows it. Nobody serves pictures from a tunnel's address.
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # protocol assignments, Teredo
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)


def is_allowed(written: str, networks: Networks) -> bool:
    """Whether an address as a resolver gives it may be connected to; what is no address, or has a zone, may not."""
    try:
        address = ip_address(written)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        address = _carried(address) or address
    return any(address in network for network in networks) or _is_global_unicast(address)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a connection to this one ends at: IPv4-mapped, or behind a NAT64."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _is_global_unicast(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    if address.is_multicast or address.is_reserved or any(address in network for network in _SPECIAL):
        return False
    return address.is_global
