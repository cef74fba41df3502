"""Which address a connection goes to: a checked one, the next where one is dead; and whose fault a failure is."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import trio
import trustme
from name_servers import Zone
from receiving import OK, Request, answering, attempt_at, receiving, sender
from trio.testing import MockClock

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.connecting import connector, reaching
from stationkeeper.transports.webhooks.connecting.names import MOST_ADDRESSES, Address
from stationkeeper.transports.webhooks.connecting.reaching import reach
from stationkeeper.transports.webhooks.targets import LocalTrouble, Trouble

DEAD = -1


class Net:
    """What becomes of connections to addresses; those that are not listed are real."""

    def __init__(self, connect: Callable[..., Any]) -> None:
        self.hosts: dict[str, int] = {}
        """An error's number, or `DEAD` for one that never answers."""
        self.tried: list[tuple[str, float]] = []
        self._connect = connect

    async def connect(self, candidate: Any, where: Any) -> None:
        self.tried.append((where[0], trio.current_time()))
        number = self.hosts.get(where[0])
        if number is None:
            await self._connect(candidate, where)
        elif number == DEAD:
            await trio.sleep_forever()
        else:
            raise OSError(number, os.strerror(number))


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    with socket.socket() as plain:
        kind = type(trio.socket.from_stdlib_socket(plain))
        net = Net(kind.connect)

        async def connect(candidate: Any, where: Any) -> None:
            await net.connect(candidate, where)

        monkeypatch.setattr(kind, "connect", connect)
    monkeypatch.setattr(reaching, "_has_way", lambda family: True)
    return net


def at(*hosts: str, port: int = 443) -> list[Address]:
    return [(socket.AF_INET6, (host, port, 0, 0)) if ":" in host else (socket.AF_INET, (host, port)) for host in hosts]


# --- within one limit ------------------------------------------------------------------------------------------------


async def test_dead_addresses_leave_time_for_those_behind_them(net: Net, patient_clock: MockClock) -> None:
    net.hosts = {"2001:db8::1": DEAD, "192.0.2.1": DEAD}
    async with receiving(answering(OK)) as receiver:
        began = trio.current_time()
        stream = await reach(at("2001:db8::1", "192.0.2.1", "127.0.0.1", port=receiver.port), 9.0)
        assert stream.socket.getpeername() == ("127.0.0.1", receiver.port)
        await stream.aclose()

    assert [round(when - began) for _, when in net.tried] == [0, 3, 6]


async def test_the_limit_is_for_all_addresses_and_none_has_less_than_a_lost_packet_takes(
    net: Net, patient_clock: MockClock
) -> None:
    hosts = [f"192.0.2.{number}" for number in range(8)]
    net.hosts = dict.fromkeys(hosts, DEAD)
    began = trio.current_time()
    with pytest.raises(Trouble, match=r"192\.0\.2\.2 port 443 did not accept a connection within 1 s") as refusal:
        await reach(at(*hosts), 5.0)

    assert trio.current_time() - began == pytest.approx(5.0)
    assert [round(when - began) for _, when in net.tried] == [0, 2, 4]
    assert not isinstance(refusal.value, LocalTrouble)


# --- whose fault -----------------------------------------------------------------------------------------------------

OURS = ["ENETUNREACH", "ENETDOWN", "EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
THEIRS = ["EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT"]


@pytest.mark.parametrize(("name", "ours"), [*((name, True) for name in OURS), *((name, False) for name in THEIRS)])
async def test_an_error_says_whose_fault_it_is(net: Net, zone: Zone, name: str, ours: bool) -> None:
    net.hosts = {"192.0.2.1": getattr(errno, name)}
    zone.names["r.example"] = ["192.0.2.1"]
    async with aclosing(sender()) as sending:
        answer = await sending.send(attempt_at("https://r.example/"))

    assert answer.local is ours
    assert answer.error == f"cannot connect to 192.0.2.1 port 443: {os.strerror(getattr(errno, name))}"


@pytest.mark.parametrize("order", [("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")])
async def test_a_receiver_that_refused_is_at_fault_whatever_kept_us_from_its_other_addresses(
    net: Net, order: tuple[str, str]
) -> None:
    net.hosts = {"192.0.2.1": errno.ECONNREFUSED, "192.0.2.2": errno.ENETUNREACH}
    with pytest.raises(Trouble, match="Connection refused") as refusal:
        await reach(at(*order), 5.0)
    assert not isinstance(refusal.value, LocalTrouble)


@pytest.mark.parametrize(("families", "ours"), [({socket.AF_INET}, False), (set(), True)])
async def test_a_receiver_beyond_the_only_family_that_we_have_is_not_waited_for(
    net: Net, monkeypatch: pytest.MonkeyPatch, families: set[int], ours: bool
) -> None:
    monkeypatch.setattr(reaching, "_has_way", lambda family: family in families)
    net.hosts = {"2001:db8::1": errno.ENETUNREACH}
    with pytest.raises(Trouble, match="Network is unreachable") as refusal:
        await reach(at("2001:db8::1"), 5.0)
    assert isinstance(refusal.value, LocalTrouble) is ours


async def test_no_descriptor_is_our_fault(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with aclosing(sender()) as sending:
        with monkeypatch.context() as patched:
            patched.setattr("trio.socket.socket", none_left)
            answer = await sending.send(attempt_at("http://127.0.0.1:9/"))

    assert (answer.local, answer.error) == (True, "cannot connect to 127.0.0.1 port 9: Too many open files")


@pytest.mark.parametrize(("name", "ours"), [("ENETDOWN", True), ("ENOBUFS", True), ("ECONNRESET", False)])
def test_a_connection_that_breaks_says_whose_fault_it_is_too(name: str, ours: bool) -> None:
    error = OSError(getattr(errno, name), "")
    broken = trio.BrokenResourceError()
    broken.__cause__ = error

    assert connector.is_local(error) is connector.is_local(broken) is ours
    assert not connector.is_local(trio.BrokenResourceError())


async def test_what_a_receiver_answers_is_never_our_fault() -> None:
    async with (
        receiving(answering(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")) as receiver,
        aclosing(sender()) as sending,
    ):
        answer = await sending.send(attempt_at(receiver.url))

    assert (answer.status, answer.local) == (500, False)


# --- the guard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.0.1"], r"127\.0\.0\.1, which is not a public address \(loopback\)"),
        (["8.8.8.8", "10.0.0.1"], r"10\.0\.0\.1, which is not a public address \(private\)"),
        (["169.254.169.254", "8.8.8.8"], "link-local"),
        (["2001:4860:4860::8888", "8.8.8.8", "::ffff:127.0.0.1"], "loopback"),
        (["64:ff9b::a00:1"], "private"),
    ],
)
async def test_every_address_of_a_name_is_checked_before_any_is_tried(
    net: Net, zone: Zone, addresses: list[str], reason: str
) -> None:
    zone.names["r.example"] = addresses
    async with aclosing(WebhookSender()) as sending:
        answer = await sending.send(attempt_at("https://r.example/"))

    assert re.search(reason, answer.error)
    assert answer.error.endswith("nothing is sent")
    assert (net.tried, answer.local) == ([], False)


async def test_of_many_addresses_those_are_checked_that_may_be_tried(
    net: Net, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"8.8.{number >> 8}.{number & 255}" for number in range(1000)]
    zone.names["r.example"] = [*hosts, "10.0.0.1"]
    net.hosts = dict.fromkeys(hosts, errno.ECONNREFUSED)
    checked: list[str] = []

    def check(address: str) -> str:
        checked.append(address)
        return ""

    monkeypatch.setattr(connector, "special", check)
    monkeypatch.setattr(connector, "is_own", lambda address: False)
    async with aclosing(WebhookSender()) as sending:
        answer = await sending.send(attempt_at("https://r.example/"))

    assert "Connection refused" in answer.error
    assert checked == [host for host, _ in net.tried] == hosts[:MOST_ADDRESSES]


async def test_an_own_address_is_as_good_as_loopback(net: Net, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.names["r.example"] = ["8.8.8.8"]
    monkeypatch.setattr(connector, "is_own", lambda address: address == "8.8.8.8")
    async with aclosing(WebhookSender()) as sending:
        answer = await sending.send(attempt_at("https://r.example/"))

    assert "of this very host" in answer.error
    assert net.tried == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    net: Net, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that points elsewhere as soon as it was looked up (DNS rebinding)."""
    checked: list[str] = []

    def check(address: str) -> str:
        checked.append(address)
        zone.names["r.example"] = ["10.0.0.1"]
        return ""

    monkeypatch.setattr(connector, "special", check)
    monkeypatch.setattr(connector, "is_own", lambda address: False)
    zone.names["r.example"] = ["127.0.0.1"]
    async with (
        receiving(answering(OK)) as receiver,
        aclosing(WebhookSender(allow_http=True, ports=frozenset({receiver.port}))) as sending,
    ):
        answer = await sending.send(attempt_at(f"http://r.example:{receiver.port}/"))

    assert answer.status == 200
    assert checked == [host for host, _ in net.tried] == ["127.0.0.1"]
    assert zone.asked["r.example"] == 1


async def test_the_receiver_is_told_its_name_though_an_address_was_connected_to(zone: Zone) -> None:
    """In SNI and Host; and it must prove that name, not the address."""
    zone.names["xn--bcher-kva.example"] = ["127.0.0.1"]
    authority, requests, names = trustme.CA(), list[Request](), list[str | None]()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("xn--bcher-kva.example").configure_cert(theirs)
    theirs.sni_callback = lambda _, name, __: names.append(name)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    async with (
        receiving(answering(OK, requests), theirs) as receiver,
        aclosing(WebhookSender(allow_private_networks=True, tls=ours)) as sending,
    ):
        answer = await sending.send(attempt_at(f"https://bücher.example:{receiver.port}/"))

    assert (answer.status, answer.error) == (200, "")
    assert names == ["xn--bcher-kva.example"]
    assert requests[0].headers["host"] == f"xn--bcher-kva.example:{receiver.port}"


async def test_ports_that_are_not_listed_are_not_sent_to(net: Net) -> None:
    async with aclosing(WebhookSender()) as sending:
        answer = await sending.send(attempt_at("https://8.8.8.8:25/"))

    assert "port 25 is not among those" in answer.error
    assert net.tried == []
