"""The HTTP API: what it answers, from what is folded, and only to whom it may."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from office import Office, open_office

from stationkeeper.daemon.api import shapes, webhook_shapes
from stationkeeper.daemon.api.answers import page_of_ids
from stationkeeper.daemon.http.guard import normal_path
from stationkeeper.daemon.http.paths import encoded
from stationkeeper.engine.clock import rfc3339
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.sending import Attempt

STATION = {"id": "CP-7", "generate": True, "name": "Harbour"}
HOOK = {"url": "https://receiver.example/hook"}


async def test_a_registered_station_is_shown_with_its_password_once() -> None:
    async with open_office() as office:
        made = await office.ask("POST", "/chargestations", STATION)
        shown = await office.ask("GET", "/chargestations/CP-7")

    assert (made.status, made.headers["location"]) == (201, "/chargestations/CP-7")
    assert len(made.json["password"]) == 40
    assert "password" not in shown.json
    assert shown.json["name"] == "Harbour"
    assert shown.json["online"] is False
    assert (shown.json["version"], shown.json["lastConnectAt"]) == (0, None)


async def test_a_connected_station_is_online_with_what_its_gateway_sees() -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7", remote="192.0.2.44")
        shown = (await office.ask("GET", "/chargestations/CP-7")).json

    shapes.Chargestation.model_validate(shown)
    assert shown["online"] is shown["observed"] is True
    assert shown["live"]["remote"] == "192.0.2.44"
    assert shown["connection"]["openedAt"] == shown["lastConnectAt"]


async def test_a_get_after_a_delivered_message_never_shows_an_older_version() -> None:
    seen: list[tuple[int, int]] = []
    async with open_office() as office:

        async def look(attempt: Attempt) -> None:
            told = shapes.Chargestation.model_validate_json(b"".join(_data(attempt.body)))
            seen.append((told.version, (await office.ask("GET", "/chargestations/CP-7")).json["version"]))

        office.receiver.on_attempt = look
        await office.ask("POST", "/webhooks", HOOK)
        for _ in range(5):
            await (await office.stations.connect("CP-7")).close()
        while len(seen) < 10:
            await office.engine.beyond(office.engine.position)

    assert [told for told, _ in seen] == list(range(1, 11))
    assert all(shown >= told for told, shown in seen)


def _data(body: bytes) -> list[bytes]:
    return [body[body.index(b'"data":') + 7 : -1]]


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_any_moment_can_be_asked_for_and_the_answer_names_its_position(kind: str, tmp_path: Path) -> None:
    async with open_office(MemoryLog() if kind == "memory" else tmp_path / "log.db") as office:
        station = await office.stations.connect("CP-7")
        opened = office.engine.position
        at = office.engine.now()
        await station.close()
        await office.until_offline("CP-7")
        by_position = (await office.ask("GET", f"/chargestations/CP-7?at={opened}")).json
        by_time = (await office.ask("GET", f"/chargestations/CP-7?at={rfc3339(at)}")).json
        now = (await office.ask("GET", "/chargestations/CP-7")).json
        early = await office.ask("GET", "/chargestations/CP-7?at=1")

    assert by_position["online"] is by_time["online"] is True
    assert now["online"] is False
    assert by_position["asOf"]["position"] == by_time["asOf"]["position"] == opened
    assert "live" not in by_position
    assert early.status == 404


@pytest.mark.parametrize("moment", ["99", "yesterday", "9" * 5000, "2026-13-01T00:00:00Z", "-1"])
async def test_a_moment_that_is_none_is_refused(moment: str) -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        answer = await office.ask("GET", f"/chargestations/CP-7?at={moment}")

    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "at"


async def test_lists_are_pages_that_stay_true_while_stations_come() -> None:
    async with open_office() as office:
        for number in range(5):
            await office.stations.connect(f"CP-{number}")
        await (await office.stations.connect("CP-2")).close()
        await office.until_offline("CP-2")
        first = (await office.ask("GET", "/chargestations?limit=2")).json
        await office.stations.connect("CP-00")
        second = (await office.ask("GET", f"/chargestations?limit=9&cursor={first['next']}")).json
        offline = (await office.ask("GET", "/chargestations?online=false")).json
        online = (await office.ask("GET", "/chargestations?online=true&limit=1")).json

    shapes.Chargestations.model_validate(first)
    assert [station["id"] for station in first["data"] + second["data"]] == [f"CP-{n}" for n in range(5)]
    assert second["next"] is None
    assert [station["id"] for station in offline["data"]] == ["CP-2"]
    assert online["next"] is not None


async def test_a_station_is_changed_and_removed() -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", STATION)
        changed = await office.ask("PATCH", "/chargestations/CP-7", {"site": "Pier 4", "liveness": {"silence": "5m"}})
        before = office.engine.position
        same = await office.ask("PATCH", "/chargestations/CP-7", {})
        assert (same.status, office.engine.position) == (200, before)

        removed = await office.ask("DELETE", "/chargestations/CP-7")
        gone = await office.ask("GET", "/chargestations/CP-7")
        history = await office.ask("GET", "/chargestations/CP-7/events")

    assert (changed.json["site"], changed.json["name"]) == ("Pier 4", "Harbour")
    assert (removed.status, gone.status) == (204, 404)
    assert [event["kind"] for event in history.json["data"]] == [
        "station.registered",
        "station.updated",
        "station.removed",
    ]


async def test_a_removed_station_is_gone_once_it_is_offline_and_its_past_stays() -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", STATION)
        station = await office.stations.connect("CP-7")
        await office.registrar.remove("CP-7", actor="test")
        await station.wait_closed()
        await office.until_offline("CP-7")
        gone, listed = await office.ask("GET", "/chargestations/CP-7"), await office.ask("GET", "/chargestations")
        past = await office.ask("GET", "/chargestations/CP-7?at=3")

    assert (gone.status, listed.json["data"]) == (404, [])
    assert past.json["online"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("GET", "/chargestations/none", None, 404, "none"),
        ("GET", "/nowhere", None, 404, "/nowhere"),
        ("PUT", "/chargestations", {}, 405, "PUT"),
        ("POST", "/chargestations", {"id": "CP-1"}, 422, "password"),
        ("POST", "/chargestations", {"id": "CP-1", "generate": True, "nmae": ""}, 422, "nmae"),
        ("POST", "/chargestations", b"{", 422, "JSON"),
        ("POST", "/chargestations", b'{"id": "CP-1", "password": "\\ud800aaaaaaaaa"}', 422, "UTF-8"),
        ("POST", "/chargestations", STATION, 409, "CP-7"),
        ("PATCH", "/chargestations/CP-7", {"name": None}, 422, "name"),
        ("PATCH", "/chargestations/CP-7", {"overlap": 60}, 422, "it goes with a new password"),
        ("PATCH", "/chargestations/CP-7", {"liveness": {"silence": "soon"}}, 422, "25s"),
        ("DELETE", "/chargestations/none", None, 404, "none"),
        ("GET", "/chargestations?limit=0", None, 422, "limit"),
        ("GET", "/chargestations?cursor=!", None, 422, "cursor"),
        ("POST", "/webhooks", {"url": "http://10.0.0.1/"}, 422, "https"),
        ("POST", "/webhooks", HOOK | {"events": ["chargestation.onlin"]}, 422, "chargestation.online"),
        ("PATCH", "/webhooks/none", {"name": "x"}, 404, "none"),
        ("POST", "/webhooks/none/test", None, 404, "none"),
        ("POST", "/messages/none/redeliver", None, 404, "none"),
        ("GET", "/webhooks/none/messages", None, 404, "none"),
        ("GET", "/events?after=-1", None, 422, "after"),
        ("GET", "/chargestations/none/events", None, 404, "none"),
    ],
)
async def test_every_error_is_a_problem_document_that_says_what_was_wrong(
    method: str, path: str, body: Any, status: int, word: str
) -> None:
    async with open_office() as office:
        await office.ask("POST", "/chargestations", STATION)
        answer = await office.ask(method, path, body)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    shapes.Problem.model_validate(answer.json)
    assert word in answer.json["detail"]


@pytest.mark.parametrize("password", ["canary-canary", ["canary-canary"], {"canary-canary": 1}, "canary-" * 100])
async def test_an_error_never_repeats_a_password(password: object) -> None:
    async with open_office() as office:
        given = {"id": "CP-1", "password": password, "generate": True}
        answer = await office.ask("POST", "/chargestations", given)

    assert answer.status == 422
    assert "canary" not in answer.text


async def test_a_change_is_answered_503_while_the_log_cannot_be_written() -> None:
    log = MemoryLog(fault=lambda entries: "lost" if failing else None)
    failing = False
    async with open_office(log) as office:
        await office.stations.connect("CP-7")
        failing = True
        answer = await office.ask("POST", "/chargestations", STATION)
        ready, shown = await office.ask("GET", "/readyz"), await office.ask("GET", "/chargestations/CP-7")
        failing = False

    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert (ready.status, ready.json["reason"]) == (503, "log_unavailable")
    assert shown.json["online"] is True


async def test_alive_and_ready() -> None:
    async with open_office() as office:
        assert (await office.ask("GET", "/healthz")).status == 200
        assert (await office.ask("GET", "/readyz")).json["status"] == "ready"
        assert (await office.ask("HEAD", "/readyz")).status == 200


@pytest.mark.parametrize("id", ["a/b", "ü 50%", "%2F", "a?b#c", "..", "<script>", "%41"])
async def test_an_id_may_hold_anything_that_can_be_percent_encoded(id: str) -> None:
    async with open_office() as office:
        made = await office.ask("POST", "/chargestations", {"id": id, "generate": True})
        shown = await office.ask("GET", made.headers["location"])
        page = await office.ask("GET", f"/stations/{encoded(id)}")
        history = await office.ask("GET", f"/chargestations/{encoded(id)}/events")

    assert shown.json["id"] == id
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert history.json["data"][0]["subject"] == id


@given(st.text(st.characters(codec="utf-8")))
def test_paths_are_decoded_only_where_that_cannot_matter(id: str) -> None:
    path = normal_path(encoded(id).encode())

    assert unquote(path) == id
    assert "/" not in path
    assert normal_path(path.encode()) == path


@given(st.sets(st.text(min_size=1), max_size=30), st.integers(1, 7))
def test_pages_hold_every_id_once_in_order(ids: set[str], limit: int) -> None:
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page, cursor = page_of_ids(ids, cursor, limit)
        assert len(page) <= limit
        assert page or not ids
        found += page

    assert found == sorted(ids)


async def subscribed(office: Office, status: int = 204, **more: object) -> str:
    office.receiver.status = status
    return str((await office.ask("POST", "/webhooks", HOOK | more)).json["id"])


async def settled(office: Office, webhook: str, state: str, number: int = 1) -> list[dict[str, Any]]:
    """Wait until a webhook has so many messages in a state."""
    while True:
        position = office.engine.position
        found = (await office.ask("GET", f"/webhooks/{webhook}/messages?state={state}")).json["data"]
        if len(found) >= number:
            return list(found)
        await office.engine.beyond(position)


async def test_a_subscription_tells_its_secret_once() -> None:
    async with open_office() as office:
        made = await office.ask("POST", "/webhooks", HOOK | {"name": "Operations"})
        shown = await office.ask("GET", made.headers["location"])
        listed = await office.ask("GET", "/webhooks")
        rotated = await office.ask("POST", made.headers["location"] + "/rotate-secret")

    webhook_shapes.WebhookWithSecret.model_validate(made.json)
    webhook_shapes.Webhooks.model_validate(listed.json)
    assert made.status == 201
    assert made.json["secret"].startswith("whsec_")
    assert "secret" not in shown.json
    assert (shown.json["state"], shown.json["name"]) == ("active", "Operations")
    assert rotated.json["secret"] != made.json["secret"]


async def test_a_webhook_is_paused_enabled_tested_changed_and_removed() -> None:
    async with open_office() as office:
        webhook = "/webhooks/" + await subscribed(office)
        assert (await office.ask("POST", webhook + "/pause")).json["state"] == "paused"
        assert (await office.ask("POST", webhook + "/test")).json["owed"]["pending"] == 1
        assert (await office.ask("POST", webhook + "/enable")).json["state"] == "active"
        changed = await office.ask("PATCH", webhook, {"stations": ["CP-1*"], "url": "https://new.example/"})
        assert (changed.json["stations"], changed.json["url"]) == (["CP-1*"], "https://new.example/")

        assert (await office.ask("DELETE", webhook)).status == 204
        assert (await office.ask("GET", webhook)).status == 404


async def test_messages_are_listed_and_sent_again() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        await office.stations.connect("CP-7")
        [message] = await settled(office, webhook, "delivered")
        office.receiver.status = 500
        again = await office.ask("POST", f"/messages/{message['id']}/redeliver")
        twice = await office.ask("POST", f"/messages/{message['id']}/redeliver")

    webhook_shapes.MessageShown.model_validate(message)
    assert (message["type"], message["subject"]) == ("chargestation.online", "CP-7")
    assert (again.status, again.json["state"], again.json["round"]) == (202, "pending", 1)
    assert twice.status == 409


async def test_a_webhook_shows_the_answers_that_it_gave() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        await office.stations.connect("CP-7")
        await settled(office, webhook, "delivered")
        shown = (await office.ask("GET", f"/webhooks/{webhook}")).json

    webhook_shapes.Webhook.model_validate(shown)
    assert [(answer["status"], answer["outcome"]) for answer in shown["answers"]] == [(204, "delivered")]


async def test_recovering_names_its_range_by_position_or_by_time() -> None:
    async with open_office() as office:
        webhook = await subscribed(office)
        by_position = await office.ask("POST", f"/webhooks/{webhook}/recover", {"since": 1, "until": 2})
        by_time = await office.ask("POST", f"/webhooks/{webhook}/recover", {"since": "2020-01-01T00:00:00Z"})
        wrong = await office.ask("POST", f"/webhooks/{webhook}/recover", {"since": "last week"})
        at = (await office.ask("GET", "/events?kind=webhook.added")).json["data"][0]["at"]
        await office.ask("POST", f"/webhooks/{webhook}/recover", {"since": at, "until": at})
        [first, second, third] = (await office.ask("GET", "/events?kind=webhook.recovered")).json["data"]

    assert (by_position.status, by_time.status, wrong.status) == (200, 200, 422)
    assert first["body"] == {"since": 1, "until": 2}
    assert second["body"]["since"] == 1
    assert third["body"] == {"since": 2, "until": 2}, "the event of that very moment, and no other"


async def test_no_secret_is_on_any_page_in_any_event_or_number(tmp_path: Path) -> None:
    secret = "whsec_" + b64encode(b"canary" * 6).decode()
    async with open_office(tmp_path / "log.db") as office:
        await office.ask("POST", "/chargestations", {"id": "CP-7", "password": "canary-canary-canary"})
        made = await office.ask("POST", "/webhooks", HOOK | {"secret": secret})
        await office.stations.connect("CP-7", password=b"canary-canary-canary")
        await office.ask("POST", made.headers["location"] + "/rotate-secret", {"secret": secret[:-8] + "AAAAAAAA"})
        paths = [
            "/",
            "/stations/CP-7",
            "/subscriptions",
            "/metrics",
            "/events?limit=1000",
            "/webhooks",
            "/chargestations",
        ]
        said = b"".join([(await office.ask("GET", path)).body for path in [*paths, "/chargestations/CP-7?at=3"]])

    assert made.json["secret"] == secret
    assert b"canary" not in said
    assert secret[6:30].encode() not in said


async def test_events_are_pulled_in_order_to_the_end() -> None:
    async with open_office() as office:
        for number in range(4):
            await office.stations.connect(f"CP-{number}")
        first = (await office.ask("GET", "/events?limit=3")).json
        rest = (await office.ask("GET", f"/events?cursor={first['next']}")).json

    shapes.Events.model_validate(first)
    assert [event["position"] for event in first["data"] + rest["data"]] == [1, 2, 3, 4, 5]
    assert (rest["next"], rest["position"]) == (None, 5)
    assert "192.0.2.1" not in str(rest), "private parts are not shown"


async def test_a_long_poll_returns_with_the_news_or_with_nothing() -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        end = office.engine.position
        nothing = (await office.ask("GET", f"/events?after={end}&wait=0.01")).json
        nursery.start_soon(office.stations.connect, "CP-7")
        news = (await office.ask("GET", f"/events?after={end}&wait=30")).json

    assert (nothing["data"], nothing["position"]) == ([], end)
    assert [event["kind"] for event in news["data"]] == ["connection.opened"]


@pytest.mark.parametrize("path", ["/events/stream?after=0", "/events/stream"])
async def test_a_stream_brings_the_past_asked_for_and_then_what_comes(path: str) -> None:
    seen = b""

    def take(piece: bytes) -> bool:
        nonlocal seen
        seen += piece
        return b"connection.opened" in seen

    async with open_office() as office, trio.open_nursery() as nursery:
        nursery.start_soon(office.ask.stream, path, take)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await office.stations.connect("CP-7")

    assert b"event: connection.opened\ndata: {" in seen
    assert (b"event: gateway.started" in seen) == ("after" in path)
    assert b"id: 2\n" in seen


async def test_a_stream_goes_on_after_the_last_event_that_was_seen() -> None:
    async with open_office() as office:
        wrong = await office.ask("GET", "/events/stream", headers={"last-event-id": "x"})

    assert wrong.status == 422


async def test_the_openapi_document_names_every_route_of_the_contract() -> None:
    async with open_office() as office:
        document = (await office.ask("GET", "/openapi.json")).json
        page = await office.ask("GET", "/docs")

    routes = {f"{method} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {
        "get /chargestations", "post /chargestations", "get /chargestations/{id}", "patch /chargestations/{id}",
        "delete /chargestations/{id}", "get /chargestations/{id}/events", "get /webhooks", "post /webhooks",
        "get /webhooks/{id}", "patch /webhooks/{id}", "delete /webhooks/{id}", "post /webhooks/{id}/test",
        "post /webhooks/{id}/rotate-secret", "post /webhooks/{id}/recover", "post /webhooks/{id}/enable",
        "get /webhooks/{id}/messages", "post /messages/{id}/redeliver", "get /events", "get /events/stream",
        "get /healthz", "get /readyz", "get /metrics",
    } <= routes  # fmt: skip
    assert page.status == 200
    assert "/chargestations/{id}" in page.text
    assert "src=" not in page.text
