"""Whatever is asked of the API, in whichever words: an answer, and never a fault of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import trio
from effort import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from office import open_office
from strategies import histories

from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import Conflict, Fenced
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import presence, registry

WORDS = ["CP-7", "a/b", "\ud800", "\x00", "", "25s", "whsec_AAAA", "*", "9" * 5000]
TEXT = st.text(max_size=20) | st.sampled_from(WORDS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "id", "password", "generate", "protocol", "security", "name", "site", "liveness", "overlap", "url", "events",
    "stations", "initial", "secret", "since", "until", "profile", "serial", "lenient", "sites", "mode", "format",
    "signatures", "headers", "client_certificate", "authorities", "rate", "concurrency",
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5) | JSON
ROUTES = st.sampled_from(
    [
        "/chargestations", "/chargestations/{}", "/chargestations/{}/events", "/webhooks", "/webhooks/{}",
        "/webhooks/{}/test", "/webhooks/{}/pause", "/webhooks/{}/enable", "/webhooks/{}/rotate-secret",
        "/webhooks/{}/recover", "/webhooks/{}/messages", "/messages/{}/redeliver", "/messages/{}/skip",
        "/events", "/", "/stations/{}", "/subscriptions", "/login", "/logout", "/{}",
    ]
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(["at", "online", "limit", "cursor", "after", "kind", "state", "q", "show", "page", "next"]),
    TEXT | st.integers().map(str),
    max_size=3,
)


def escaped(text: str) -> str:
    return quote(text, safe="", errors="replace")


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(["GET", "POST", "PATCH", "DELETE", "HEAD"]), ROUTES, TEXT, QUERIES, BODIES),
        min_size=1,
        max_size=6,
    )
)
@example([("POST", "/chargestations", "", {}, {"id": "\ud800", "generate": True})])
@example([("GET", "/chargestations/{}", "CP-7", {"at": "0001-01-01T00:00:00+23:59"}, {})])
@example([("PATCH", "/chargestations/{}", "CP-7", {}, {"overlap": 1e308, "generate": True})])
@example([("PATCH", "/chargestations/{}", "CP-7", {}, {"liveness": {"silence": "1e999s", "ping_interval": 1e308}})])
@example([("POST", "/webhooks/{}/recover", "WEBHOOK", {}, {"since": 2**70, "until": -1})])
def test_nothing_that_is_asked_is_a_fault_of_ours(asked: list[tuple[str, str, str, dict[str, str], Any]]) -> None:
    async def main() -> None:
        async with open_office() as office:
            await office.ask("POST", "/chargestations", {"id": "CP-7", "generate": True})
            hook = await office.ask("POST", "/webhooks", {"url": "https://receiver.example/"})
            for method, route, id, query, body in asked:
                path = route.format(hook.json["id"] if id == "WEBHOOK" else escaped(id))
                path += "?" + "&".join(f"{name}={escaped(value)}" for name, value in query.items())
                answer = await office.ask(method, path, json.dumps(body).encode())
                assert answer.status < 500, (method, path, body, answer)
            assert (await office.ask("GET", "/chargestations")).status == 200

    trio.run(main)


NUMBERS = st.integers() | st.floats() | st.none()
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "sites": st.lists(TEXT, max_size=2) | JSON,
        "mode": st.sampled_from(["every", "latest"]) | JSON,
        "format": st.sampled_from(["standard", "cloudevents"]) | JSON,
        "signatures": st.lists(st.sampled_from(["v1", "v1a", "v2"]), max_size=3) | JSON,
        "headers": st.dictionaries(st.sampled_from(["X-A", "x-a", "Host"]) | TEXT, TEXT | st.none()) | JSON,
        "client_certificate": TEXT | JSON,
        "authorities": TEXT | JSON,
        "rate": NUMBERS | JSON,
        "concurrency": NUMBERS | JSON,
    },
)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), OPTIONS, JSON), max_size=4))
@example([(True, {"rate": float("nan")}, {}), (False, {"concurrency": 2**70}, {"overlap": 1e308})])
@example([(False, {"headers": {"X-A": "\ud800"}, "client_certificate": "\ud800"}, None)])
def test_whatever_a_webhook_is_told_is_taken_whole_or_refused(asked: list[tuple[bool, Any, Any]]) -> None:
    async def main() -> None:
        async with open_office() as office:
            url = "https://receiver.example/"
            place = (await office.ask("POST", "/webhooks", {"url": url})).headers["location"]
            for new, options, rotation in asked:
                before = office.engine.position
                body = json.dumps(options | {"url": url} if new else options).encode()
                answer = await office.ask("POST" if new else "PATCH", "/webhooks" if new else place, body)
                assert answer.status in (200, 201, 422), (body, answer)
                assert answer.status != 422 or office.engine.position == before
                assert (await office.ask("POST", place + "/rotate-secret", json.dumps(rotation).encode())).status < 500
                assert (await office.ask("GET", "/webhooks")).status == 200
                assert office.engine.secrets.ids() == office.registrar.webhook_secrets_named()

    trio.run(main)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_every_page_can_show_every_history(history: list[Recorded]) -> None:
    async def main() -> None:
        log = MemoryLog()
        for recorded in history:
            with suppress(Fenced, Conflict):
                log.append([recorded])
        async with open_office(log) as office:
            ids = [*office.engine.state(presence), *office.engine.state(registry)]
            paths = ["/", "/subscriptions", "/metrics", "/chargestations", "/webhooks", "/events?limit=1000"]
            paths += [f"{page}/{escaped(id)}" for id in ids for page in ("/stations", "/chargestations")]
            for path in paths:
                assert (await office.ask("GET", path)).status in (200, 404), path

    trio.run(main)
