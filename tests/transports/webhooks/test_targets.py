"""Which URLs a webhook may have, and that what is checked is what would be connected to."""

from __future__ import annotations

import json
import socket
import subprocess
from ipaddress import ip_address
from itertools import product
from urllib.parse import urlsplit

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from node_peers import node

from stationkeeper.transports.webhooks.connecting.addresses import special
from stationkeeper.transports.webhooks.targets import Trouble, check_url, is_address, target_of


def check(url: str, *, http: bool = False, private: bool = False, ports: frozenset[int] | None = None) -> None:
    check_url(url, allow_http=http, allow_private_networks=private, ports=ports)


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("https://example.com", "example.com", 443, "example.com", "/"),
        ("HTTPS://Example.COM:443?a=b", "example.com", 443, "example.com", "/?a=b"),
        ("https://example.com:8443/a/../b", "example.com", 8443, "example.com:8443", "/a/../b"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/"),
        ("https://faß.de/", "xn--fa-hia.de", 443, "xn--fa-hia.de", "/"),
        ("https://my_service.example:/", "my_service.example", 443, "my_service.example", "/"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "8.8.8.8", "/"),
        ("https://[2606:4700:0:0::1111]:8443/", "2606:4700::1111", 8443, "[2606:4700::1111]:8443", "/"),
    ],
)
def test_a_url_points_somewhere(url: str, host: str, port: int, authority: str, path: str) -> None:
    check(url)
    target = target_of(url, allow_http=False, allow_private_networks=False)

    assert target.origin == ("https", host, port)
    assert (target.authority, target.path) == (authority, path)


def test_what_a_url_must_be_depends_on_what_is_allowed() -> None:
    for http, wanted in ((False, "it must be https://HOST/PATH, "), (True, "it must be http://HOST/PATH or https://")):
        with pytest.raises(ValueError, match=wanted):
            check("receiver.example", http=http)


# --- what is refused -------------------------------------------------------------------------------------------------

ODD = [
    # 127.0.0.1, as resolvers and other parsers read it
    ("https://2130706433/", "IPv4"),
    ("https://0x7f000001/", "IPv4"),
    ("https://0x7f.0.0.1/", "IPv4"),
    ("https://0177.0.0.1/", "IPv4"),
    ("https://127.0.0.01/", "IPv4"),
    ("https://127.1/", "IPv4"),
    ("https://127.0.1/", "IPv4"),
    ("https://example.0x/", "IPv4"),
    ("https://%31%32%37.0.0.1/", "IPv4"),
    ("https://127.0.0.1./", "ends in a full stop"),
    ("https://１２７.0.0.1/", "no name"),  # noqa: RUF001
    ("https://127。0。0。1/", "no name"),
    ("https://①②⑦.0.0.1/", "no name"),
    ("https://[::1%25lo]/", "zone"),
    ("https://[fe80::1%eth0]/", "zone"),
    ("https://[127.0.0.1]/", "IPv6"),
    ("https://[::1/", "cannot be read"),
    ("https://::1/", "cannot be read"),
    # names
    ("https://example.com./", "ends in a full stop"),
    ("https://exa mple.com/", "percent-encoded"),
    ("https://exam\tple.com/", "percent-encoded"),
    ("https://example.com/\r\nx: 1", "percent-encoded"),
    ("\x01https://example.com/", "https://HOST/PATH"),
    (" https://example.com/", "https://HOST/PATH"),
    ("https://example.com\\@127.0.0.1/", "percent-encoded"),
    ("https://a..b/", "no name"),
    ("https://-a.example/", "no name"),
    ("https://a-.example/", "no name"),
    ("https://" + "a" * 64 + ".example/", "no name"),
    ("https://" + "a." * 127 + "a/", "no name"),
    ("https://ex%61mple.com/", "no name"),
    ("https://xn--zz.example/", "no name"),
    ("https://☃.example/", "no name"),
    ("https://ⓔxample.com/", "no name"),
    ("https://\u212aelvin.example/", "no name"),
    ("https://exa\u00admple.com/", "percent-encoded"),
    ("https://exa\u200dmple.com/", "percent-encoded"),
    # the rest
    ("https://user:canary@example.com/", "user name or password"),
    ("https://@example.com/", "user name or password"),
    ("https://example.com#@127.0.0.1/", "fragment"),
    ("https://example.com/#", "fragment"),
    ("https://example.com:0/", "65535"),
    ("https://example.com:99999/", "65535"),
    ("https://example.com:٤٤٣/", "cannot be read"),
    ("https://example.com:-1/", "cannot be read"),
    ("https://example.com:80:443/", "cannot be read"),
    ("https://:443/", "cannot be read"),
    ("https:///path", "https://HOST/PATH"),
    ("https:example.com", "https://HOST/PATH"),
    ("//example.com/", "https://HOST/PATH"),
    ("ftp://example.com/", "https://HOST/PATH"),
    ("https://example.com/ä", "percent-encoded"),
    ("https://example.com/" + "a" * 2048, "2048 are allowed"),
    ("", "https://HOST/PATH"),
]


@pytest.mark.parametrize(("url", "reason"), ODD)
def test_what_could_be_read_in_two_ways_is_not_read_at_all(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        check(url, http=True, private=True)
    assert "canary" not in str(refusal.value)
    with pytest.raises(Trouble, match=reason):
        target_of(url, allow_http=True, allow_private_networks=True)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "10.1.2.3", "[::1]", "[fd00::1]", "[::ffff:10.0.0.1]"],
)
def test_private_hosts_take_the_permission(host: str) -> None:
    with pytest.raises(ValueError, match="allow_private_networks"):
        check(f"https://{host}/")
    with pytest.raises(Trouble, match="not public"):
        target_of(f"https://{host}/", allow_http=False, allow_private_networks=False)
    check(f"https://{host}/", private=True)


def test_plain_http_takes_the_permission() -> None:
    with pytest.raises(ValueError, match="allow_http"):
        check("http://example.com/")
    check("http://example.com/", http=True)
    assert target_of("http://example.com/", allow_http=True, allow_private_networks=False).origin == (
        "http",
        "example.com",
        80,
    )


@pytest.mark.parametrize(
    ("http", "private", "ports", "taken", "refused"),
    [
        (False, False, None, (443, 8443), (80, 8080, 22, 25, 6379, 9200)),
        (True, False, None, (443, 8443, 80, 8080), (22, 25)),
        (False, True, None, (443, 22, 65535), ()),
        (False, False, frozenset({9443}), (9443,), (443, 8443)),
        (True, True, frozenset({9443}), (9443,), (443, 80)),
    ],
)
def test_ports_are_listed(
    http: bool, private: bool, ports: frozenset[int] | None, taken: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    for port in taken:
        check(f"https://example.com:{port}/", http=http, private=private, ports=ports)
    for port in refused:
        with pytest.raises(ValueError, match=f"port {port} .*ports"):
            check(f"https://example.com:{port}/", http=http, private=private, ports=ports)


# --- what others would make of it ------------------------------------------------------------------------------------

PIECES = ["127", "1", "0x7f", "0177", "2130706433", "a", "xn--", "localhost", "\uff11", "ü", "ß", "K", ".", "\u3002"]
PIECES += ["..", "-", "_", "[", "]", "::", "ffff", ":", "%25", "%2e"]
MARKS = ["@", "\\", "/", "?", "#", "\t", " ", "443", "\u00ad", "É"]


def agree(url: str) -> None:
    """Ask that a URL is refused, or that everybody else would go where we go."""
    try:
        _, host, port = target_of(url, allow_http=True, allow_private_networks=True).origin
    except Trouble:
        return
    theirs = urlsplit(url)
    if url.isascii() and not is_address(host):
        assert theirs.hostname == host
    assert theirs.port in (None, port)
    try:
        numeric = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        assert not is_address(host)
        return
    assert is_address(host)
    assert [ip_address(str(address[4][0])) for address in numeric] == [ip_address(host)]


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(PIECES + MARKS), max_size=8).map("".join),
    st.sampled_from(["https://", "http://", "https:"]),
)
@example("127.0.0.1", "https://")
@example("[::ffff:1]", "https://")
def test_no_resolver_and_no_parser_reads_it_otherwise(rest: str, scheme: str) -> None:
    agree(scheme + rest)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    agree(f"https://{text}")


@given(st.ip_addresses())
def test_an_address_in_a_url_is_as_special_as_it_is(address: object) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    try:
        check(f"https://{host}/")
    except ValueError:
        assert special(str(address))
    else:
        assert not special(str(address))


def test_browsers_read_what_is_taken_as_we_do() -> None:
    """Node's `URL` is the WHATWG's parser, which mends where we refuse."""
    urls = [f"https://{''.join(parts)}/x" for size in (1, 2, 3) for parts in product(PIECES, repeat=size)]
    ours = {}
    for url in urls:
        try:
            ours[url] = target_of(url, allow_http=False, allow_private_networks=True).authority
        except Trouble:
            continue
    script = """const urls = JSON.parse(require('fs').readFileSync(0));
        const read = url => { try { return new URL(url).host } catch { return null } };
        console.log(JSON.stringify(urls.map(read)))"""
    read = subprocess.run(
        [node(), "-e", script], input=json.dumps(list(ours)), capture_output=True, check=True, text=True
    )

    assert len(ours) > 100
    assert {url: host for url, host in zip(ours, json.loads(read.stdout), strict=True) if host != ours[url]} == {}
