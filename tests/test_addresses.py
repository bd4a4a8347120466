"""Addresses as text, and those that this machine has."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from plugind.wire import addresses

GOOD = {
    "10.0.0.5": ("10.0.0.5", None),
    "10.0.0.5:4646": ("10.0.0.5", 4646),
    "vm-1.example.org:80": ("vm-1.example.org", 80),
    "localhost": ("localhost", None),
    "::1": ("::1", None),
    "[::1]": ("::1", None),
    "[2001:db8::7]:5646": ("2001:db8::7", 5646),
}
BAD = [
    *("", " ", ":4646", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0", "10.0.0.256"),
    *("a:b", "a:1:2", "[::1", "[a]b", "http://10.0.0.5", "a b", "a/b", "-a", "a\n", "x" * 254),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_address_has_a_host_and_perhaps_a_port(text: str) -> None:
    assert addresses.split(text) == GOOD[text]
    host, port = GOOD[text]
    whole = addresses.with_port(text, 99)
    assert addresses.split(whole) == (host, port or 99)
    assert addresses.with_port(whole, 1) == whole


@pytest.mark.parametrize(
    ("client", "party"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1%eth0", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_whom_a_client_counts_for(client: str, party: str) -> None:
    assert addresses.party_of(client) == party


@pytest.mark.parametrize("text", BAD)
def test_any_other_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        addresses.split(text)


def test_addresses_of_no_machine() -> None:
    assert all(map(addresses.is_unspecified, ("0.0.0.0", "::", "0:0::0")))
    assert not any(map(addresses.is_unspecified, ("127.0.0.1", "::1", "localhost", "")))


def test_a_server_is_reached_from_an_address_of_this_machine() -> None:
    assert addresses.toward("http://127.0.0.1:4646") == "127.0.0.1"
    assert addresses.toward("http://localhost") in ("127.0.0.1", "::1")
    for nonsense in ("nonsense", "http://no-such-name.invalid:1", "http://[::1", "http://x:99999"):
        assert addresses.toward(nonsense) == "", nonsense


@pytest.mark.parametrize("unspecified", ["0.0.0.0", "::"])
def test_a_server_on_all_interfaces_is_named_by_one_of_its_addresses(
    unspecified: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = addresses.of_this_machine(unspecified)
    assert not ipaddress.ip_address(host).is_unspecified
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))  # only the machine's own addresses can be bound
    # Without a default route an interface's own address is as good.
    monkeypatch.setattr(addresses, "_ELSEWHERE", dict.fromkeys(addresses._ELSEWHERE, "256.0.0.1"))
    assert not ipaddress.ip_address(addresses.of_this_machine(unspecified)).is_unspecified


TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.1:5432", "192.0.2.1"),
        ("2001:db8::1", "[2001:db9::1]:5432", "2001:db9::1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, _hidden", "10.0.0.1"),
        ("10.0.0.1", ",,", "10.0.0.1"),
    ],
)
def test_the_client_behind_proxies(remote: str, forwarded: str, client: str) -> None:
    assert addresses.client_of(remote, forwarded, TRUSTED) == client


def test_without_trusted_proxies_nothing_forwarded_is_believed() -> None:
    assert addresses.client_of("10.0.0.1", "192.0.2.1", ()) == "10.0.0.1"
