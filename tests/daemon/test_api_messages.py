"""Messages pulled over the API: pages, waiting, streams, filters, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import trio
import trio.testing
from office import Answer, Client, Office, open_office

from stationkeeper.daemon.app import create_app
from stationkeeper.daemon.http.asgi import Message
from stationkeeper.daemon.http.tokens import Tokens
from stationkeeper.daemon.registry.requests import NewStation
from stationkeeper.engine.events import GatewayStarted, LogRestored, WebhookAdded, WebhookDisabled
from stationkeeper.projections import outbox
from stationkeeper.transports.receiver import MemoryVersions, Order
from stationkeeper.transports.receiver.pulling import read_page

ONLINE, OFFLINE = "chargestation.online", "chargestation.offline"


async def flap(office: Office, station: str, times: int = 1) -> None:
    for _ in range(times):
        line = await office.stations.connect(station)
        await line.close()
        await office.until_offline(station)


async def test_a_page_holds_what_webhooks_are_sent_and_where_to_go_on() -> None:
    async with open_office() as office:
        await office.ask("POST", "/webhooks", {"url": "https://example.com/hook"})
        await flap(office, "CP-7")
        while any(office.engine.state(outbox).pending()):  # until the outcomes are recorded, too
            await office.engine.beyond(office.engine.position)
        page = (await office.ask("GET", "/messages?limit=1")).json
        rest = (await office.ask("GET", f"/messages?after={page['next']}")).json
        nothing = (await office.ask("GET", f"/messages?after={rest['position']}")).json
        end = office.engine.position
        bodies = [json.loads(attempt.body) for attempt in office.receiver.attempts]

    entries = [*page["data"], *rest["data"]]
    assert [list(entry) for entry in entries] == [["id", "position", "type", "timestamp", "data"]] * 2
    assert [{name: entry[name] for name in ("type", "timestamp", "data")} for entry in entries] == bodies
    assert [entry["type"] for entry in entries] == [ONLINE, OFFLINE]
    assert (page["next"], page["position"]) == (str(entries[0]["position"]), entries[0]["position"])
    assert (rest["next"], rest["position"]) == (None, end)
    assert nothing == {"data": [], "next": None, "position": end}
    assert len({entry["id"] for entry in entries} | {office.receiver.attempts[0].message}) == 3


async def test_it_is_pulled_in_the_words_of_the_receiver_library() -> None:
    async with open_office() as office:
        await flap(office, "CP-7", 2)
        page = read_page((await office.ask("GET", "/messages")).json)

    order = Order(MemoryVersions())
    assert [(told.station, told.version, told.online) for told in page.messages if order.keep(told)] == [
        ("CP-7", 1, True),
        ("CP-7", 2, False),
        ("CP-7", 3, True),
        ("CP-7", 4, False),
    ]
    assert not page.more


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", [("A1", ONLINE), ("A1", OFFLINE), ("B1", ONLINE), ("B1", OFFLINE)]),
        ("?event=chargestation.offline", [("A1", OFFLINE), ("B1", OFFLINE)]),
        ("?station=A*&station=C*", [("A1", ONLINE), ("A1", OFFLINE)]),
        ("?site=north&event=chargestation.online", [("B1", ONLINE)]),
        ("?station=A*&site=north", []),
        ("?event=webhook.disabled", [("wh_1", "webhook.disabled")]),
    ],
)
async def test_a_filter_is_a_webhooks(query: str, told: list[tuple[str, str]]) -> None:
    async with open_office() as office:
        await office.registrar.register(NewStation(id="B1", generate=True, site="north"), actor="test")
        for station in ("A1", "B1"):
            await flap(office, station)
        await office.engine.record(WebhookAdded(url="https://example.com/"), subject="wh_1")
        await office.engine.record(WebhookDisabled(reason="dead", since=0, status=500), subject="wh_1")
        page = (await office.ask("GET", "/messages" + query)).json

    assert [(entry["data"]["id"], entry["type"]) for entry in page["data"]] == told


async def test_what_one_event_tells_of_many_can_be_paged() -> None:
    async with open_office() as office:
        for number in range(5):
            await office.stations.connect(f"CP-{number}")
        begin = office.engine.position
        await office.engine.record(LogRestored(checkpoint_size=1, checkpoint_root="00"))
        pages = [(await office.ask("GET", f"/messages?after={begin}&limit=2")).json]
        while pages[-1]["next"]:
            pages.append((await office.ask("GET", f"/messages?after={pages[-1]['next']}&limit=2")).json)

    assert [page["next"] for page in pages] == [f"{begin + 1}.2", f"{begin + 1}.4", None]
    assert [page["position"] for page in pages] == [begin, begin, begin + 1]
    assert [entry["data"]["id"] for page in pages for entry in page["data"]] == [f"CP-{n}" for n in range(5)]


async def test_a_wait_ends_with_the_first_message_that_is_asked_for() -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        begin = office.engine.position
        answers: list[Answer] = []

        async def wait() -> None:
            answers.append(await office.ask("GET", f"/messages?after={begin}&wait=50&event={OFFLINE}"))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        line = await office.stations.connect("CP-7")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not answers
        await line.close()

    assert [entry["type"] for entry in answers[0].json["data"]] == [OFFLINE]


async def test_a_wait_in_vain_says_how_far_was_looked(autojump_clock: trio.testing.MockClock) -> None:
    async with open_office(virtual=True) as office:
        begun = trio.current_time()
        answer = await office.ask("GET", f"/messages?after={office.engine.position}&wait=30")

        assert 30 <= trio.current_time() - begun < 31
        assert answer.json["data"] == []
        assert answer.json["next"] is None


async def test_nobody_is_waited_for_who_has_gone(autojump_clock: trio.testing.MockClock) -> None:
    async with open_office(virtual=True) as office:
        begun, answers = trio.current_time(), 0

        async def gone() -> Message:
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal answers
            await trio.lowlevel.checkpoint()
            answers += message["type"] == "http.response.start"

        await office.app(office.ask.scope("GET", f"/messages?after={office.engine.position}&wait=30")[0], gone, send)

        assert trio.current_time() - begun < 1
        assert answers == 1


async def streamed(office: Office, path: str, pieces: int) -> bytes:
    """Return the begin of a stream, up to so many messages."""
    seen = b""

    def take(piece: bytes) -> bool:
        nonlocal seen
        seen += piece
        return seen.count(b"data: ") == pieces

    await office.ask.stream(path, take)
    return seen


async def test_a_stream_brings_the_past_and_then_what_comes_and_ids_to_go_on_from() -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        await flap(office, "CP-7")

        async def later() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await flap(office, "CP-8")

        nursery.start_soon(later)
        seen = await streamed(office, "/messages/stream?after=0", 4)
        ids = re.findall(rb"^id: (.+)$", seen, re.MULTILINE)
        rest = await streamed(office, f"/messages/stream?after={ids[1].decode()}", 2)

    types = re.findall(rb"^event: (.+)$", seen, re.MULTILINE)
    assert types == [ONLINE.encode(), OFFLINE.encode()] * 2
    assert re.findall(rb"^id: (.+)$", rest, re.MULTILINE) == ids[2:]


async def test_a_stream_without_a_place_begins_now() -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        await flap(office, "CP-7")

        async def later() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await office.stations.connect("CP-8")

        nursery.start_soon(later)
        seen = await streamed(office, "/messages/stream", 1)

    assert b"CP-8" in seen
    assert b"CP-7" not in seen


@pytest.mark.parametrize(
    ("path", "field", "why"),
    [
        ("/messages?after={beyond}", "after", "the newest is"),
        ("/messages?after={beyond}.1&wait=30", "after", "the newest is"),
        ("/messages/stream?after={beyond}", "after", "the newest is"),
        ("/messages?after=-1", "after", "is no position and no `next` of a page"),
        ("/messages?after=1.2.3", "after", "is no position and no `next` of a page"),
        ("/messages?after=%D9%A1", "after", "is no position and no `next` of a page"),
        ("/messages?after=" + "9" * 30, "after", "is no position and no `next` of a page"),
        ("/messages?stations=CP-1", "stations", "there is no such parameter; did you mean station?"),
        ("/messages/stream?events=x", "events", "did you mean event?"),
        ("/messages?station=", "station", "at least one pattern of station ids"),
        ("/messages?site=[ab", "site", "does not close it"),
        ("/messages?wait=61", "wait", "60"),
        ("/messages?limit=0", "limit", "1"),
        ("/messages?event=chargestation.onlin", "event", "did you mean chargestation.online?"),
        ("/messages/stream?event=zzz", "event", "there are chargestation.online"),
        ("/messages?event=webhook.ping", "event", "to pull"),
    ],
)
async def test_what_cannot_be_is_refused(path: str, field: str, why: str) -> None:
    async with open_office() as office:
        answer = await office.ask("GET", path.format(beyond=office.engine.position + 1))

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)
    assert why in answer.json["detail"]


@pytest.mark.parametrize("id", ["99", "x", "1\n", "-1", ""])
async def test_a_stream_that_comes_back_from_nowhere_is_told_so(id: str) -> None:
    async with open_office() as office:
        answer = await office.ask("GET", "/messages/stream", headers={"last-event-id": id})

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "Last-Event-ID")


@pytest.mark.parametrize("path", ["/messages", "/messages/stream"])
async def test_a_reader_shows_a_token(path: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("read sesame\n")
    (tmp_path / "tokens").chmod(0o600)
    async with open_office() as office:
        app = create_app(office.engine, office.registrar, tokens=Tokens(tmp_path / "tokens"))
        stranger = await Client(app)("GET", path)
        reader = await Client(app, token="sesame")("GET", path + "?after=999")

    assert (stranger.status, reader.status) == (401, 422)


@pytest.mark.parametrize("path", ["/messages", "/messages/stream"])
async def test_rules_of_a_newer_release_are_not_passed_over_in_silence(path: str) -> None:
    async with open_office() as office:
        newer = GatewayStarted(
            public_url="",
            ping_interval=1,
            ping_timeout=1,
            silence=1,
            grace=1,
            settling=1,
            rules=99,
            software="9",
            host="",
        )
        await office.engine.record(newer)
        answer = await office.ask("GET", path)

    assert answer.status == 503
    assert "upgrade" in answer.json["detail"]
