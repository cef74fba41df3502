"""The gate: strict to one station, generous to one address, fair to all."""

from __future__ import annotations

from random import Random

import pytest

from stationkeeper.transports.gate.gate import Gate, Limits
from stationkeeper.transports.gate.rates import Rate
from stationkeeper.transports.handshake.answers import Refused

PUBLIC = "198.51.100.7"


def seconds(refused: Refused | None) -> int:
    assert refused is not None
    return int(dict(refused.headers)["Retry-After"])


def gate(handshake_rate: float | None = None) -> Gate:
    limits = Limits(station=Rate(3, 1.0), address=Rate(5, 2.0))
    return Gate(handshake_rate=handshake_rate, limits=limits, chance=lambda: 0.0)


def test_a_station_that_comes_too_often_is_told_and_no_other() -> None:
    at = gate()
    let_in = [at.may_enter("CP-1", 0.0) for _ in range(3)]
    refused = at.may_enter("CP-1", 0.5)

    assert let_in == [None, None, None]
    assert refused is not None
    assert (refused.status, refused.reason, seconds(refused)) == (429, "too_often", 1)
    assert at.may_enter("CP-2", 0.5) is None
    assert at.may_enter("CP-1", 1.0) is None


def test_who_hammers_at_the_gate_gets_in_as_often_as_who_waits() -> None:
    at = gate()
    let_in = sum(at.may_enter("CP-1", tenth / 10) is None for tenth in range(1000))

    assert let_in == 3 + 99


def test_only_refused_handshakes_count_against_an_address() -> None:
    at = gate()
    for number in range(1000):
        assert at.may_try(PUBLIC, f"CP-{number}", 0.0) is None
        assert at.may_enter(f"CP-{number}", 0.0) is None

    for _ in range(5):
        at.refused(PUBLIC, 401, 0.0)
    refused = at.may_try(PUBLIC, "stranger", 0.0)

    assert refused is not None
    assert (refused.status, refused.reason, seconds(refused)) == (429, "too_often", 1)
    assert at.may_try("198.51.100.8", "stranger", 0.0) is None
    assert at.may_try(PUBLIC, "stranger", 0.5) is None


def test_strangers_behind_the_same_address_do_not_keep_out_who_was_let_in_before() -> None:
    at = gate()
    at.may_enter("CP-1", 0.0)
    at.remember("CP-2")  # it was online before we started
    for _ in range(100):
        at.refused(PUBLIC, 404, 1.0)

    assert at.may_try(PUBLIC, "stranger", 1.0) is not None
    assert at.may_try(PUBLIC, "CP-1", 1.0) is None
    assert at.may_try(PUBLIC, "CP-2", 1.0) is None


@pytest.mark.parametrize("status", [101, 429, 500, 503])
def test_what_is_ours_or_another_limit_counts_against_no_address(status: int) -> None:
    at = gate()
    for _ in range(100):
        at.refused(PUBLIC, status, 0.0)

    assert at.may_try(PUBLIC, "CP-1", 0.0) is None


@pytest.mark.parametrize("remote", ["127.0.0.1", "::1"])
def test_a_proxy_on_this_machine_is_no_address_of_anybody(remote: str) -> None:
    at = gate()
    for _ in range(100):
        at.refused(remote, 404, 0.0)

    assert at.may_try(remote, "CP-1", 0.0) is None


@pytest.mark.parametrize(
    ("remote", "neighbour", "same"),
    [
        ("2001:db8:1:2::a", "2001:db8:1:2:ffff::b", True),
        ("2001:db8:1:2::a", "2001:db8:1:3::a", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unknown:", "unknown:", True),
    ],
)
def test_an_ipv6_host_is_its_network(remote: str, neighbour: str, same: bool) -> None:
    at = gate()
    for _ in range(100):
        at.refused(remote, 404, 0.0)

    assert (at.may_try(neighbour, "CP-1", 0.0) is not None) == same


def test_over_the_rate_of_all_there_is_a_503_that_spreads_those_who_come_back() -> None:
    at = Gate(handshake_rate=10.0, chance=Random(1).random)
    answers = [at.may_enter(f"CP-{number}", 0.0) for number in range(101)]
    refused = [answer for answer in answers if answer is not None]
    times = [seconds(answer) for answer in refused]

    assert {(answer.status, answer.reason) for answer in refused} == {(503, "overloaded")}
    assert len(refused) == 100
    assert max(times) in (12, 13)  # a hundred, at nine of the ten a second
    assert all(5 <= times.count(second) <= 13 for second in range(3, 11))
    coming = sorted((time, f"CP-{number}") for number, time in enumerate(times, 1))
    assert [station for time, station in coming if at.may_enter(station, float(time)) is not None] == []


def test_who_is_not_let_in_for_the_rate_of_all_has_used_up_nothing_of_its_own() -> None:
    at = gate(handshake_rate=1.0)
    at.may_enter("first", 0.0)
    told = [at.may_enter("CP-1", 0.0) for _ in range(20)]

    assert {answer.status for answer in told if answer is not None} == {503}


def test_without_a_rate_of_all_there_is_none() -> None:
    at = gate()

    assert all(at.may_enter(f"CP-{number}", 0.0) is None for number in range(10_000))
