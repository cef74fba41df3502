"""The guard: what a token may, what a browser may, and what another site may not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from office import Client, Office, open_office

from stationkeeper.daemon.http.sessions import LIFETIME, find_session, new_session
from stationkeeper.daemon.http.tokens import Tokens

STATION = {"id": "CP-7", "generate": True}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An API that asks for tokens."""
    path = tmp_path / "tokens"
    path.write_text("admin canary-admin\nread canary-read\n")
    async with open_office(tokens=path) as office:
        yield office


async def test_without_a_token_nothing_is_told_but_that_it_is_asked_for(office: Office) -> None:
    for path in ("/chargestations", "/", "/metrics", "/events", "/nowhere", "/live/fleet", "/%63hargestations"):
        answer = await office.ask("GET", path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/login"])
async def test_what_tells_of_no_station_is_open(path: str, office: Office) -> None:
    assert (await office.ask("GET", path)).status == 200


@pytest.mark.parametrize("token", ["wrong", "canary", ""])
async def test_a_wrong_token_is_nobody_even_where_none_is_needed_to_read(token: str, office: Office) -> None:
    answer = await Client(office.app, token=token)("GET", "/chargestations")

    assert answer.status == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


async def test_a_reader_reads_and_changes_nothing(office: Office) -> None:
    reader = Client(office.app, token="canary-read")

    assert (await reader("GET", "/chargestations")).status == 200
    for method in ("POST", "PATCH", "DELETE", "PUT", "OPTIONS"):
        answer = await reader(method, "/chargestations", STATION)
        assert (answer.status, "read-1" in answer.json["detail"]) == (403, True)


async def test_a_change_is_recorded_in_the_name_of_its_token_which_stays_out(office: Office) -> None:
    admin = Client(office.app, token="canary-admin")
    assert (await admin("POST", "/chargestations", STATION)).status == 201

    events = (await admin("GET", "/events?kind=station.registered")).json["data"]
    assert [event["actor"] for event in events] == ["admin-1"]
    assert "canary" not in str(events)


async def test_a_browser_logs_in_once_and_then_only_reads(office: Office) -> None:
    sent = await office.ask("GET", "/?q=x", headers={"accept": "text/html"})
    assert (sent.status, sent.headers["location"]) == (303, "/login?next=/%3Fq%3Dx")

    form = {"content-type": "application/x-www-form-urlencoded"}
    entered = await office.ask("POST", sent.headers["location"], b"token=canary-admin", headers=form)
    cookie = entered.headers["set-cookie"]
    assert (entered.status, entered.headers["location"]) == (303, "/?q=x")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "canary" not in cookie

    session = {"cookie": cookie.partition(";")[0]}
    assert (await office.ask("GET", "/", headers=session)).status == 200
    assert (await office.ask("POST", "/chargestations", STATION, headers=session)).status == 401
    bearer = Client(office.app, token=session["cookie"].partition("=")[2])
    assert (await bearer("GET", "/")).status == 401


async def test_a_wrong_token_in_the_form_is_told_so(office: Office) -> None:
    answer = await office.ask("POST", "/login", b"token=wrong")

    assert answer.status == 401
    assert "not known" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/%5Cevil.example", "%2F%2Fevil.example", "/%0a"]
)
async def test_a_login_leads_to_no_other_site(to: str, office: Office) -> None:
    answer = await office.ask("POST", f"/login?next={to}", b"token=canary-read")

    assert answer.headers["location"] == "/"


def test_a_session_ends_with_its_token_and_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    path.write_text("admin one-canary\nread two-canary\n")
    tokens = Tokens(path)
    session = new_session(next(iter(tokens)))
    found = find_session(tokens, session)
    assert found is not None
    assert found.name == "admin-1"

    assert find_session(tokens, session[:-1] + ("0" if session[-1] != "0" else "1")) is None
    later = time.time() + LIFETIME + 1
    monkeypatch.setattr("stationkeeper.daemon.http.sessions.time.time", lambda: later)
    assert find_session(tokens, session) is None
    monkeypatch.undo()
    path.write_text("read two-canary\n")
    tokens.reload()
    assert find_session(tokens, session) is None


@pytest.mark.parametrize("host", ["rebound.example:8080", "192.0.2.1", ""])
async def test_without_a_token_file_only_names_of_this_machine_are_answered(host: str) -> None:
    async with open_office() as office:
        answer = await Client(office.app, host=host)("GET", "/chargestations")
        local = await Client(office.app, host="[::1]:8080")("GET", "/chargestations")

    assert (answer.status, local.status) == (403, 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
async def test_another_site_can_change_nothing_through_a_browser_on_this_machine(headers: dict[str, str]) -> None:
    async with open_office() as office:
        answer = await office.ask("POST", "/chargestations", STATION, headers=headers)
        ours = await office.ask("POST", "/chargestations", STATION, headers={"origin": "http://localhost"})

    assert (answer.status, ours.status) == (403, 201)
