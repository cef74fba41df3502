"""The dashboard: what its pages say, and how they behave in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from office import Office, open_office

from stationkeeper.daemon.http.asgi import serve_http
from stationkeeper.daemon.http.paths import encoded
from stationkeeper.engine.events import HandshakeRefused, StationRegistered

PHONE = {"width": 360, "height": 740}
LONG = "CP-" + "1234567890" * 9


async def test_the_fleet_says_how_each_station_is_and_why() -> None:
    async with open_office() as office:
        await office.engine.record(StationRegistered(name="Harbour"), subject="CP-new")
        await office.stations.connect("CP-on")
        await (await office.stations.connect("CP-off")).close()
        await office.until_offline("CP-off")
        page = (await office.ask("GET", "/")).text
        offline = (await office.ask("GET", "/?show=offline")).text
        found = (await office.ask("GET", "/?q=harb")).text

    assert "the station closed the connection" in page
    assert all(word in page for word in ("never seen", "offline", "online", "3</b>stations, 1 never seen"))
    assert "CP-off" in offline
    assert "CP-on" not in offline
    assert "CP-new" in found
    assert "CP-off" not in found


async def test_a_station_whose_gateway_went_is_not_observed_and_the_page_says_why(tmp_path: Path) -> None:
    async with open_office(tmp_path / "log.db") as office:
        await office.stations.connect("CP-7")
    async with open_office(tmp_path / "log.db") as office:
        fleet = (await office.ask("GET", "/?show=unobserved")).text
        station = (await office.ask("GET", "/stations/CP-7")).text

    assert "CP-7" in fleet
    assert "our gateway was stopped" in fleet
    assert "Last reported online. Not observed because our gateway was stopped" in station
    assert "Our gateway stopped; the flag stays" in station


async def test_stations_stand_in_the_order_that_people_count_in() -> None:
    async with open_office() as office:
        for number in (10, 9, 101, 100):
            await office.stations.connect(f"CP-{number}")
        page = (await office.ask("GET", "/")).text

    places = [page.index(f">CP-{number}<") for number in (9, 10, 100, 101)]
    assert places == sorted(places)


async def test_a_large_fleet_has_pages(tmp_path: Path) -> None:
    async with open_office() as office, trio.open_nursery() as nursery:
        for number in range(130):
            nursery.start_soon(office.stations.connect, f"CP-{number}")
        while len(office.engine.connections) < 130:
            await office.engine.beyond(office.engine.position)
        first = (await office.ask("GET", "/")).text
        last = (await office.ask("GET", "/?page=99")).text

    assert (first.count("<tr data-part"), last.count("<tr data-part")) == (100, 30)
    assert "Page 2 of 2" in last


async def test_a_stations_page_tells_its_story_with_the_messages_it_made() -> None:
    async with open_office() as office:
        await office.ask("POST", "/webhooks", {"url": "https://receiver.example/", "name": "Billing"})
        await (await office.stations.connect("CP-7")).close(4001, "bye")
        await office.until_offline("CP-7")
        page = (await office.ask("GET", "/stations/CP-7")).text
        nobody = await office.ask("GET", "/stations/none")

    assert "Offline because the station closed the connection" in page
    assert "(code 4001, \u201cbye\u201d)" in page
    assert page.index("Connection ended") < page.index("Connected with ocpp")
    assert "chargestation.offline to Billing" in page
    assert nobody.status == 404


async def test_a_stations_page_says_how_available_it_was() -> None:
    async with open_office() as office:
        await office.stations.connect("CP-7")
        await office.ask("POST", "/chargestations", {"id": "CP-8", "generate": True})
        page = (await office.ask("GET", "/stations/CP-7")).text
        new = (await office.ask("GET", "/stations/CP-8")).text

    assert "100.0 % in 24 hours, 100.0 % in 7 days" in page
    assert "Available" not in new


async def test_what_a_station_says_of_itself_is_text_and_nothing_else() -> None:
    id = "<script>alert(1)</script>"
    async with open_office() as office:
        await (await office.stations.connect(id)).close(4000, "<b>bold</b>")
        await office.until_offline(id)
        page, station = (
            await office.ask("GET", "/"),
            await office.ask("GET", "/stations/" + encoded(id)),
        )

    assert "<script>alert" not in page.text + station.text
    assert "<b>bold" not in station.text
    assert "&lt;b&gt;bold" in station.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_a_live_stream_sends_what_changed_and_no_more() -> None:
    parts: list[bytes] = []
    begun = trio.Event()

    def take(piece: bytes) -> bool:
        if b"event: parts" in piece:
            parts.append(piece)
            begun.set()
        return len(parts) == 2

    async with open_office() as office, trio.open_nursery() as nursery:
        station = await office.stations.connect("CP-7")
        await office.stations.connect("CP-8")
        nursery.start_soon(office.ask.stream, "/live/fleet", take)
        await begun.wait()
        await station.close()

    assert b"station CP-7" in parts[1]
    assert b"CP-8" not in parts[1]
    assert b'"counts"' in parts[1]


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> str:
    """Return where Chromium is; skip, or fail where CI is set, with a sentence that says what to install."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    try:
        import playwright  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        missing = "no browser: install Debian's chromium (apt install chromium) and pip's playwright to run this test"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


class Browser:
    """A page in a headless Chromium, and whatever it complained of or asked others for."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self._said("error", str(error)))
        page.on("request", lambda request: self._outside(request.url))

    def _said(self, type: str, text: str) -> None:
        if type in ("error", "warning"):
            self.complaints.append(text)

    def _outside(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"asked for {url}")

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def wait_for(self, selector: str, text: str) -> None:
        """Wait until an element says something; the page has not been loaded anew meanwhile."""
        self.page.locator(selector, has_text=text).first.wait_for(timeout=15_000)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def browsing(path: str, url: str, **settings: Any) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        yield Browser(browser.new_context(**settings).new_page(), url)
        browser.close()


@asynccontextmanager
async def served(tokens: Path | None = None) -> AsyncIterator[tuple[Office, str]]:
    async with open_office(tokens=tokens) as office, trio.open_nursery() as nursery:
        server = await nursery.start(lambda task_status: serve_http(office.app, "127.0.0.1:0", task_status=task_status))
        yield office, server.url
        server.stop(1)


async def look(path: str, url: str, at: Callable[[Browser], None], **settings: Any) -> Browser:
    """Let a browser look at pages, in a thread of its own, beside the engine."""

    def run() -> Browser:
        with browsing(path, url, **settings) as browser:
            at(browser)
            return browser

    return await trio.to_thread.run_sync(run)


async def test_a_flip_is_seen_live_with_no_reload_no_error_and_nothing_from_outside(chromium: str) -> None:
    async with served() as (office, url):
        await office.engine.record(StationRegistered(), subject="CP-7")

        def at(browser: Browser) -> None:
            browser.go("/")
            browser.wait_for(".pulse", "live")
            browser.page.evaluate("window.loadedOnce = true")
            browser.wait_for("[data-part='station CP-7']", "never seen")
            station = trio.from_thread.run(office.stations.connect, "CP-7")
            browser.wait_for("[data-part='station CP-7']", "online")
            trio.from_thread.run(station.close)
            browser.wait_for("[data-part='station CP-7']", "offline")
            browser.wait_for("[data-part='counts'] .offline", "1")
            trio.from_thread.run(office.stations.connect, "CP-8")
            browser.wait_for("[data-part='station CP-8']", "online")
            assert browser.page.evaluate("window.loadedOnce") is True

        browser = await look(chromium, url, at)

    assert browser.complaints == []


async def test_the_pages_of_a_station_and_of_subscriptions_are_live_too(chromium: str) -> None:
    async with served() as (office, url):
        await office.ask("POST", "/webhooks", {"url": "https://receiver.example/", "name": "Billing"})
        station = await office.stations.connect("CP-7")

        def at(browser: Browser) -> None:
            browser.go("/subscriptions")
            browser.wait_for(".card", "204")
            office.receiver.status = 503
            browser.go("/stations/CP-7")
            browser.wait_for(".head", "online")
            trio.from_thread.run(station.close)
            browser.wait_for(".head", "offline")
            browser.wait_for(".told", "chargestation.offline to Billing: pending, 1 failed attempt")
            browser.go("/subscriptions")
            browser.wait_for(".card", "failing")
            browser.page.get_by_text("Billing").click()
            browser.wait_for("[data-part='main']", "Failing: answered 503")
            browser.wait_for("[data-part='past']", "1 accepted, 1 message failed and waits")
            browser.page.get_by_text("The same as a table").click()
            trio.from_thread.run(office.stations.connect, "CP-8")
            browser.wait_for("[data-part='answers']", "CP-8")
            browser.page.get_by_text("7 days").click()
            browser.wait_for("[data-part='past']", "in 7 days.")
            browser.go("/docs")

        browser = await look(chromium, url, at)

    assert browser.complaints == []


async def test_every_page_fits_a_phone_light_and_dark(chromium: str) -> None:
    async with served() as (office, url):
        await office.engine.record(StationRegistered(name="Harbour " * 30), subject=LONG)
        await (await office.stations.connect(LONG)).close(4000, "x" * 100)
        given = {"url": "https://receiver.example/" + "y" * 300}
        webhook = (await office.ask("POST", "/webhooks", given)).json["id"]
        now = office.engine.now()
        for claimed in (LONG + "x", "none"):
            refused = HandshakeRefused(
                claimed=claimed, reason="unknown_station", status=404, hint="y" * 200, first_at=now, last_at=now
            )
            await office.engine.record(refused)
        widths: dict[str, int] = {}

        def at(browser: Browser) -> None:
            for scheme in ("light", "dark"):
                browser.page.emulate_media(color_scheme=scheme)
                for page in ("/", f"/stations/{LONG}", "/refused", "/subscriptions", f"/subscriptions/{webhook}",
                             "/docs", "/login", "/stations/none", "/stations/nobody"):  # fmt: skip
                    browser.go(page)
                    widths[f"{page} {scheme}"] = browser.overflow()
                    colors.add(browser.page.evaluate("getComputedStyle(document.body).backgroundColor"))

        colors: set[str] = set()
        await look(chromium, url, at, viewport=PHONE)

    assert {page: width for page, width in widths.items() if width} == {}
    assert len(colors) == 2


async def test_without_javascript_the_page_says_the_same_and_can_be_loaded_again(chromium: str) -> None:
    async with served() as (office, url):
        await office.stations.connect("CP-7")

        def at(browser: Browser) -> None:
            browser.go("/?q=cp")
            browser.wait_for("[data-part='station CP-7']", "online")
            browser.page.get_by_text("Refresh").click()
            browser.wait_for("[data-part='station CP-7']", "online")
            assert browser.page.url == url + "/?q=cp"
            browser.page.get_by_text("Turned away").click()
            browser.wait_for("[data-part='main']", "Nobody was turned away.")

        await look(chromium, url, at, java_script_enabled=False)


async def test_with_tokens_a_browser_is_asked_once(chromium: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("read canary-read\n")
    async with served(tokens) as (office, url):
        await office.stations.connect("CP-7")

        def at(browser: Browser) -> None:
            browser.go("/stations/CP-7")
            browser.page.get_by_label("Token").fill("canary-read")
            browser.page.get_by_role("button", name="Log in").click()
            browser.wait_for(".head", "online")
            browser.wait_for(".pulse", "live")
            browser.page.get_by_role("button", name="Log out").click()
            browser.wait_for("h1", "Log in")

        browser = await look(chromium, url, at)

    assert browser.complaints == []
