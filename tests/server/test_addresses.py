"""Addresses that pictures may be fetched from."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safer_server.addresses import is_allowed

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "2606:4700::1111"]

NOT_PUBLIC = [
    # this host, loopback, private, shared, link-local with the metadata services
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1",
    "100.127.255.255", "100.100.100.200", "169.254.0.1", "169.254.169.254",
    # protocol assignments, documentation, benchmarks, relays, multicast, reserved, broadcast
    "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255",
    "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    # unspecified, loopback in every spelling, unique local with the metadata services, link-local, site-local, multicast
    "::", "::1", "0:0:0:0:0:0:0:1", "::0001", "fc00::1", "fd00:ec2::254", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1",
    "ff02::1", "ff0e::1", "fe80::1%eth0", "fe80::1%1", "2606:4700::1111%eth0", "::1%lo",
    # what carries an IPv4 address: mapped, compatible, translated, NAT64, 6to4, Teredo
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
    "::127.0.0.1", "::8.8.8.8",
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::169.254.169.254",
    "64:ff9b::224.0.0.1",
    "64:ff9b:1::8.8.8.8", "64:ff9b:1::1", "2002:7f00:1::", "2002:0808:0808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # documentation, discard, benchmarks, segment routing, and what is not handed out
    "2001:db8::1", "3fff::1", "100::1", "2001:2::1", "2001:10::1", "5f00::1", "4000::1", "8000::1", "200::1",
    # no addresses at all
    "", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1:80", "[::1]", " 127.0.0.1",
    "8.8.8.8 ", "8.8.8",
    "8.8.8.8/32", "08.8.8.8", "\uff18.\uff18.\uff18.\uff18", "1.1.1.1\n",
]  # fmt: skip


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, ())


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_other_is(address: str) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::10.1.2.3", True),
        ("fd12::1", True),
        ("8.8.8.8", True),
        ("10.2.0.1", False),
        ("127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("fd12::1%eth0", False),
        ("fd13::1", False),
    ],
)
def test_networks_are_allowed_beside_them(address: str, allowed: bool) -> None:
    assert is_allowed(address, (ip_network("10.1.0.0/16"), ip_network("fd12::/16"))) is allowed


@given(st.ip_addresses(v=4).map(str))
def test_what_carries_an_address_is_judged_by_it(address: str) -> None:
    verdicts = {is_allowed(f"{prefix}{address}", ()) for prefix in ("", "::ffff:", "64:ff9b::")}
    assert len(verdicts) == 1


@given(st.ip_addresses(v=6).map(str) | st.text(max_size=20))
def test_any_text_is_judged(address: str) -> None:
    assert is_allowed(address, ()) in (True, False)
