"""Security profiles: what is asked of whom, who came otherwise, and what a technician is told of it."""

from __future__ import annotations

from typing import Literal

import pytest
from attrs import evolve

from stationkeeper.daemon.registry.profiles import Rules
from stationkeeper.engine.events import StationRecord
from stationkeeper.transports.admission import Certificate

OWN = Certificate(serial="0A", names=("CP-7",), organizations=("Ours",))


@pytest.mark.parametrize("everywhere", ["basic", "mtls", "none"])
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (StationRecord(), {"basic": "basic", "mtls": "mtls", "none": "none"}),
        (StationRecord(profile=1), {"basic": "basic", "mtls": "basic", "none": "none"}),
        (StationRecord(profile=2), {"basic": "basic", "mtls": "basic", "none": "none"}),
        (StationRecord(security="mtls"), {"basic": "mtls", "mtls": "mtls", "none": "none"}),
        (StationRecord(security="mtls", profile=3), {"basic": "mtls", "mtls": "mtls", "none": "none"}),
        (StationRecord(security="none"), {"basic": "none", "mtls": "none", "none": "none"}),
    ],
)
def test_what_is_asked_of_a_station_is_what_its_record_says_and_else_the_configuration(
    everywhere: Literal["basic", "mtls", "none"], record: StationRecord, expected: dict[str, str]
) -> None:
    assert Rules(security=everywhere).demanded(record) == expected[everywhere]


CAME = {
    1: {"tls": False, "certified": False, "credentials": True},
    2: {"tls": True, "certified": False, "credentials": True},
    3: {"tls": True, "certified": True, "credentials": False},
}


@pytest.mark.parametrize("came", CAME)
@pytest.mark.parametrize(
    ("record", "right"),
    [
        (StationRecord(), {1, 2}),
        (StationRecord(profile=1), {1}),
        (StationRecord(profile=2), {2}),
        (StationRecord(security="mtls"), {3}),
        (StationRecord(security="mtls", profile=3), {3}),
        (StationRecord(security="none"), {1, 2, 3}),
    ],
)
def test_a_station_has_one_profile_and_is_turned_away_with_any_other(
    came: int, record: StationRecord, right: set[int]
) -> None:
    hint = Rules().wrong_profile(record, **CAME[came])

    assert (hint is None) == (came in right)
    if hint is not None and record.profile is not None and came < 3:
        assert f"profile {record.profile}" in hint


def test_a_password_over_tls_counts_also_where_a_certificate_comes_with_it() -> None:
    came = {"tls": True, "certified": True, "credentials": True}

    assert Rules().wrong_profile(StationRecord(profile=2), **came) is None


def test_where_a_proxy_ends_tls_nobody_knows_how_a_station_came() -> None:
    rules = Rules(tls_in_front=True)

    assert rules.wrong_profile(StationRecord(profile=1), **CAME[1]) is None
    assert rules.wrong_profile(StationRecord(profile=2), **CAME[1]) is None
    assert rules.wrong_profile(StationRecord(security="mtls"), **CAME[1])


def test_where_no_certificates_are_asked_for_that_is_what_is_told() -> None:
    hint = Rules(certificates=False).wrong_profile(StationRecord(security="mtls"), **CAME[2])

    assert "tls_client_ca" in str(hint)


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        (OWN, None),
        (evolve(OWN, names=("anything", "SN-7")), None),
        (evolve(OWN, organizations=("Theirs", "Ours")), None),
        (evolve(OWN, names=("CP-8",)), "none of its certificate's names is its id or its registered serial ('SN-7')"),
        (evolve(OWN, names=("cp-7",)), "same capitals"),
        (evolve(OWN, names=()), "its certificate bears no name; one must be its id or its registered serial ('SN-7')"),
        (evolve(OWN, names=("CP-77", "P-7", "CP-", "CP-7 ")), "none of"),
        (evolve(OWN, names=("x" * 5_000,)), "none of"),
        (evolve(OWN, organizations=()), "its certificate names no organization; it must be 'Ours'"),
        (evolve(OWN, organizations=("ours",)), "its certificate is of another organization; it must be 'Ours'"),
    ],
)
def test_a_certificate_must_be_the_stations_own_and_of_our_organization(
    certificate: Certificate, told: str | None
) -> None:
    record = StationRecord(security="mtls", serial="SN-7")
    hint = Rules(organization="Ours").wrong_certificate("CP-7", record, certificate)

    assert (hint is None) == (told is None)
    assert told is None or told in str(hint)
    assert len(str(hint)) < 200


def test_what_a_certificate_bears_is_not_told() -> None:
    """It may be a person's, and what is in a hint can never be erased (semantics 1)."""
    canary, rules = "Ann Smith", Rules(organization="Ours")
    named, employed = evolve(OWN, names=(canary,)), evolve(OWN, organizations=(canary,))

    for certificate in (named, employed):
        hint = rules.wrong_certificate("CP-7", StationRecord(security="mtls"), certificate)
        assert hint is not None
        assert canary not in hint


def test_without_a_serial_or_an_organization_neither_counts() -> None:
    record = StationRecord(security="mtls")

    assert Rules().wrong_certificate("CP-7", record, evolve(OWN, organizations=("Theirs",))) is None
    assert Rules().wrong_certificate("CP-7", record, evolve(OWN, names=("SN-7",)))
