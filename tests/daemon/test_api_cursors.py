"""What a consumer of the history may ask for: nobody waits for what can never come."""

from __future__ import annotations

import pytest
from office import open_office

from stationkeeper.daemon.api.events import LONGEST_WAIT


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/events?after={beyond}", "after"),
        ("/events?after={beyond}&wait=30", "after"),
        ("/events?cursor={beyond}", "cursor"),
        ("/events/stream?after={beyond}", "after"),
        ("/chargestations/CP-7/events?after={beyond}", "after"),
    ],
)
async def test_a_consumer_that_is_ahead_of_the_log_is_told_where_it_ends(path: str, field: str) -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        end = office.engine.position
        answer = await office.ask("GET", path.format(beyond=end + 1))

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)
    assert f"the newest is {end}" in answer.json["detail"]


async def test_a_stream_that_comes_back_to_an_older_log_is_told_so() -> None:
    async with open_office() as office:
        answer = await office.ask("GET", "/events/stream", headers={"last-event-id": "99"})

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "Last-Event-ID")


async def test_the_end_of_the_log_itself_is_a_place_to_go_on_from() -> None:
    async with open_office() as office:
        answer = await office.ask("GET", f"/events?after={office.engine.position}")

    assert (answer.status, answer.json["data"]) == (200, [])


@pytest.mark.parametrize("path", ["/events", "/events/stream"])
async def test_an_unknown_kind_is_refused_with_the_nearest_known(path: str) -> None:
    async with open_office() as office:
        near = await office.ask("GET", path + "?kind=gateway.started&kind=connection.open")
        far = await office.ask("GET", path + "?kind=zzz")

    assert (near.status, far.status) == (422, 422)
    assert "did you mean connection.opened?" in near.json["detail"]
    assert "there are " in far.json["detail"]


async def test_a_wait_has_a_bound_that_is_named() -> None:
    async with open_office() as office:
        answer = await office.ask("GET", f"/events?wait={LONGEST_WAIT + 1}")

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "wait")
    assert "60" in answer.json["detail"]
