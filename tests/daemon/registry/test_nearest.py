"""The station that a stranger may be: typed wrong, written otherwise, or spelt twice."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.commands.station import station
from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.nearest import hint, meant
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation
from stationkeeper.engine import Engine
from stationkeeper.engine.watch.refusals import HINT_LENGTH
from stationkeeper.transports.admission import Knock, Refusal

FLEET = {"CP-007", "CP-1234", "EVB-P1234567", "Berlin/7", "SE*EVB*P1", "Wallbox 4", "20041"}


@pytest.mark.parametrize(
    ("claimed", "station"),
    [
        ("cp-007", "CP-007"),
        ("Evb-p1234567", "EVB-P1234567"),
        ("CP_007", "CP-007"),
        ("CP 007", "CP-007"),
        ("EVBP1234567", "EVB-P1234567"),
        ("CP-7", "CP-007"),
        ("CP-00000007", "CP-007"),
        ("cp7", "CP-007"),
        ("CP 07", "CP-007"),
        ("berlin-007", "Berlin/7"),
        ("020041", "20041"),
        ("EBV-P1234567", "EVB-P1234567"),  # two letters swapped
        ("EVBB-P1234567", "EVB-P1234567"),  # one too many
        ("EV-P1234567", "EVB-P1234567"),  # one too few
        ("EVP-P01234567", "EVB-P1234567"),  # another letter, and a zero
        ("CP-O07", "CP-007"),  # a letter for a digit
        ("Berlin%2F7", "Berlin/7"),  # percent-encoded twice
        ("Berlin%252F7", "Berlin/7"),
        ("Wallbox%204", "Wallbox 4"),
        ("CP-007CP-007", "CP-007"),
        ("CP-007/CP-007", "CP-007"),
        ("CP-007/", "CP-007"),
        ('"CP-007"', "CP-007"),
        ("<CP-007>", "CP-007"),
        ("ocpp/1234/CP-007", "CP-007"),
    ],
)
def test_the_station_that_is_meant_is_named(claimed: str, station: str) -> None:
    """steve#33, citrineos-core#1093, openems#1401: an id that nobody registered, percent form, odd paths."""
    assert meant(claimed, FLEET) == [station]
    assert hint(claimed, FLEET).startswith(f"did you mean {station}? If not, register it:")


@pytest.mark.parametrize("claimed", ["XY-007", "CP", "EVB-P7654321", "%%%"])
def test_nothing_is_guessed_of_an_id_that_is_like_none(claimed: str) -> None:
    assert meant(claimed, FLEET) == []
    assert hint(claimed, FLEET) == f"register it: stationkeeper station add {claimed} --generate"


@pytest.mark.parametrize("claimed", ["CP-008", "CP-9", "EVB-P1234568", "EVB-P1234657", "EVB-P12345678", "20042"])
def test_another_number_is_another_station(claimed: str) -> None:
    """In a numbered fleet the neighbour of a station is the nearest, and never the one that is meant."""
    assert meant(claimed, FLEET | {"CP-7"}) == []


def test_a_new_station_of_a_long_series_is_taken_for_none_of_it() -> None:
    assert meant("CP-555", {f"CP-{n}" for n in range(100, 1000) if n != 555}) == []


def test_of_a_few_that_are_as_near_all_are_named() -> None:
    assert sorted(meant("GARAGE-X", {"GARAGE-A", "GARAGE-B"})) == ["GARAGE-A", "GARAGE-B"]
    assert hint("GARAGE-X", {"GARAGE-A"}).startswith("did you mean GARAGE-A? ")


def test_a_digit_that_is_taken_for_a_letter_counts_for_less_than_another_digit() -> None:
    assert meant("CP-O07", {"CP-007", "CP-107", "CP-207", "CP-307"}) == ["CP-007"]


async def test_the_hint_of_a_refusal_looks_into_the_registry(engine: Engine, registrar: Registrar) -> None:
    for id in ("CP-007", "GARAGE"):
        await registrar.register(NewStation(id=id, generate=True), actor="test")
    await registrar.remove("GARAGE", actor="test")
    admission = RegistryAdmission()
    admission.attach(engine, registrar.credentials)

    hints = list[str]()
    for claimed in ("CP-7", "GARAGE", "nobody"):
        refusal = await admission(Knock(station=claimed))
        assert isinstance(refusal, Refusal)
        assert callable(refusal.hint)
        hints.append(refusal.hint())
    assert hints == [
        "did you mean CP-007? If not, register it: stationkeeper station add CP-7 --generate",
        "it was removed from the registry; to have it back, register it: stationkeeper station add GARAGE --generate",
        "register it: stationkeeper station add nobody --generate",
    ]


@pytest.mark.parametrize(
    "claimed", ["Wallbox 5", "a;rm -rf ~", "it's", "$HOME", "-x", "--help", "Ä", "SE*EVB*P2", "x" * 48, "'" * 5]
)
def test_the_command_does_what_it_says_as_it_is_printed(claimed: str) -> None:
    command = hint(claimed, FLEET).removeprefix("register it: ")
    program, *arguments = shlex.split(command)
    group, *rest = arguments

    assert (program, group) == ("stationkeeper", "station")
    parsed = station.commands["add"].make_context("add", rest[1:])
    assert (parsed.params["id"], parsed.params["generate"]) == (claimed, True)


@pytest.mark.parametrize("claimed", ["", "x" * 5000, "'" * 150, "a\nb", "\x1b[2J"])
def test_what_is_no_id_gets_no_command(claimed: str) -> None:
    assert hint(claimed, FLEET) == "register it"


def test_a_command_is_never_cut() -> None:
    fleet = dict.fromkeys("x" * 44 + end for end in ("-AA", "-AB", "-AC"))
    assert hint("x" * 44 + "-AX", fleet).endswith("-AC? If not, register it")
    assert all(len(hint("x" * n, FLEET)) < HINT_LENGTH or "station add" not in hint("x" * n, FLEET) for n in range(255))


def test_one_that_was_removed_is_not_taken_for_another() -> None:
    assert hint("CP-008", FLEET, removed=True).startswith("it was removed from the registry")


@given(st.text(max_size=300), st.sets(st.text(max_size=20), max_size=30))
def test_any_text_is_looked_for_and_what_is_found_is_registered(claimed: str, ids: set[str]) -> None:
    found = meant(claimed, ids)

    assert len(found) == len(set(found)) <= 3
    assert set(found) <= ids - {claimed}
