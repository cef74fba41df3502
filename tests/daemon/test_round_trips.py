"""How long a station takes to answer, where an operator looks: the API and its page."""

from __future__ import annotations

import pytest
from office import open_office


async def test_of_a_station_that_was_never_pinged_the_round_trip_of_its_network_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        live = office.engine.connection("CP-7")
        assert live is not None
        unknown = (await office.ask("GET", "/chargestations/CP-7")).json
        monkeypatch.setattr(live.link, "rtt", lambda: 0.034)
        by_network = (await office.ask("GET", "/chargestations/CP-7")).json
        page_by_network = (await office.ask("GET", "/stations/CP-7")).text
        live.vigil.rtt = 0.25
        by_ping = (await office.ask("GET", "/chargestations/CP-7")).json
        page_by_ping = (await office.ask("GET", "/stations/CP-7")).text

    assert [shown["live"]["rttMs"] for shown in (unknown, by_network, by_ping)] == [None, 34, 250]
    assert "Round trip of its network</dt><dd>34 ms" in page_by_network
    assert "Round trip of its network" not in page_by_ping
    assert "Answers a ping in</dt><dd>250 ms" in page_by_ping
