"""What chargers in the field do, and what it cost elsewhere: each test names a thread where somebody was hurt by it.

Each speaks over a socket of each transport, to the registry that the daemon has.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
import trio
from doorstep import TRANSPORTS, Doorstep, Transport, doorstep
from raw_station import RawStation, frame, request

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, PingSettings

KEY = bytes([0, 1, 255]) + b"a key of 20 bytes"


@pytest.fixture(params=TRANSPORTS, ids=lambda transport: transport.__name__)
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


def station(id: str = "CP-1", *, security: str = "none", **more: Any) -> NewStation:
    """Return the registration of a station that shows no credentials, unless *more* says so."""
    return NewStation(id=id, security=security, **more)


def basic(id: str, password: bytes) -> str:
    return "Authorization: Basic " + b64encode(id.encode() + b":" + password).decode()


class Gateway:
    """A doorstep whose stations can be registered."""

    def __init__(self, at: Doorstep, registrar: Registrar) -> None:
        self.at = at
        self.registrar = registrar

    async def let_in(self, *asked: str, **more: Any) -> str | None:
        """Ask, see that it is let in, and return the subprotocol that the 101 names."""
        answer = await self.at.ask(*asked, **more)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        named = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"sec-websocket-protocol:")]
        return named[0].partition(b": ")[2].decode() if named else None

    async def turned_away(self, *asked: str, **more: Any) -> tuple[int, str, str]:
        """Ask, see that it is refused, and return status, reason and hint as recorded."""
        answer = await self.at.ask(*asked, **more)
        refused = await self.at.refused()
        assert answer.startswith(b"HTTP/1.1 %d " % refused.status), answer
        return refused.status, refused.reason, refused.hint


@asynccontextmanager
async def gateway(transport: Transport, *stations: NewStation, **options: Any) -> AsyncGenerator[Gateway]:
    admission = RegistryAdmission()
    async with doorstep(transport, admission, **options) as at:
        registrar = Registrar(at.engine)
        for new in stations:
            await registrar.register(new, actor="test")
        admission.attach(at.engine, registrar.credentials)
        yield Gateway(at, registrar)


# --- no subprotocol, or another ---------------------------------------------------------------------------------------

SILENT = ["steve#1109", "OCPP.Core#43", "ev-server#2761", "lbbrhzn/ocpp#442"]


@pytest.mark.parametrize("thread", SILENT)
async def test_no_subprotocol_is_explained(transport: Transport, thread: str) -> None:
    async with gateway(transport, station()) as at:
        status, reason, hint = await at.turned_away(subprotocol=None)

    assert (status, reason) == (101, "no_subprotocol")
    assert "register the one that it speaks" in hint


@pytest.mark.parametrize("thread", SILENT)
async def test_no_subprotocol_is_borne_where_the_registration_has_one(transport: Transport, thread: str) -> None:
    async with gateway(transport, station(protocol="ocpp1.6")) as at:
        assert await at.let_in(subprotocol=None) is None
        assert (await at.at.opened()).subprotocol == "ocpp1.6"


async def test_a_station_that_breaks_on_pings_gets_none(transport: Transport) -> None:
    """lbbrhzn/ocpp#442, lbbrhzn/ocpp#899"""
    never = PingSettings(ping_interval=0.0, silence=600.0)
    async with gateway(transport, station(protocol="ocpp1.6", liveness=never)) as at:
        await at.let_in(subprotocol=None)
        opened = await at.at.opened()

    assert (opened.ping_interval, opened.silence) == (0.0, 600.0)


async def test_each_connection_has_the_version_that_it_negotiated(transport: Transport) -> None:
    """lbbrhzn/ocpp#2008"""
    async with gateway(transport, station(protocol="ocpp1.6")) as at:
        assert await at.let_in(subprotocol="ocpp2.0.1, ocpp1.6") == "ocpp2.0.1"
        assert await at.let_in(subprotocol="ocpp1.6") == "ocpp1.6"
        opened = await at.at.until(ConnectionOpened, 2)

    assert [one.subprotocol for one in opened] == ["ocpp2.0.1", "ocpp1.6"]


@pytest.mark.parametrize("offer", ["OCPP1.6", "ocpp1.5, Ocpp1.6"])
async def test_capitals_of_a_subprotocol_are_given_back(transport: Transport, offer: str) -> None:
    """RFC 6455, 4.1: a client fails the connection where the 101 names what it did not offer."""
    async with gateway(transport, station()) as at:
        assert await at.let_in(subprotocol=offer) == offer.split(", ")[-1]
        assert (await at.at.opened()).subprotocol == "ocpp1.6"


@pytest.mark.parametrize(
    ("offer", "word"), [("ocpp16", "ocpp1.6 seems to be meant"), ("ocpp2.0", "withdrawn"), ("ocpp1.5", "old version")]
)
async def test_foreign_subprotocols_are_explained(transport: Transport, offer: str, word: str) -> None:
    async with gateway(transport, station(protocol="ocpp1.6")) as at:
        status, reason, hint = await at.turned_away(subprotocol=offer)

    assert (status, reason) == (101, "no_subprotocol")
    assert word in hint


async def test_foreign_subprotocols_can_be_forgiven(transport: Transport) -> None:
    async with gateway(transport, station(protocol="ocpp1.6", lenient=("subprotocol",))) as at:
        assert await at.let_in(subprotocol="ocpp16") is None
        assert (await at.at.opened()).subprotocol == "ocpp1.6"


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
async def test_a_missing_connection_upgrade_is_explained_and_can_be_forgiven(
    transport: Transport, connection: bytes
) -> None:
    """lbbrhzn/ocpp#1984"""
    async with gateway(transport, station(), station("CP-2", lenient=("upgrade",))) as at:
        strict, lenient = (
            request(f"/ocpp/{id}").replace(b"Connection: Upgrade\r\n", connection) for id in ("CP-1", "CP-2")
        )
        assert (await at.at.say(strict)).startswith(b"HTTP/1.1 426 ")
        assert (await at.at.say(lenient)).startswith(b"HTTP/1.1 101 ")
        refused = await at.at.refused()

    assert refused.reason == "not_websocket"
    assert "lenient: upgrade" in refused.hint


@pytest.mark.parametrize("origin", ["file://", "http://localhost", "localhost"])
async def test_what_libraries_in_chargers_send_as_origin_is_borne(transport: Transport, origin: str) -> None:
    """arduinoWebSockets sends `file://` of itself, libwebsockets the name of the server."""
    async with gateway(transport, station()) as at:
        await at.let_in("/ocpp/CP-1", f"Origin: {origin}")


async def test_a_web_page_may_not_open_a_station_s_connection(transport: Transport) -> None:
    options = {"origins": ("https://pages.example",)}
    async with gateway(transport, station(), station("CP-2", lenient=("origin",)), **options) as at:
        await at.let_in("/ocpp/CP-1", "Origin: https://pages.example")
        await at.let_in("/ocpp/CP-2", "Origin: https://elsewhere.example")
        status, reason, hint = await at.turned_away("/ocpp/CP-1", "Origin: https://elsewhere.example")

    assert (status, reason) == (403, "foreign_origin")
    assert "origins" in hint


# --- ids and paths ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["RDAM 123", "RDAM|123", "Säule/7", "a:b"])
async def test_a_percent_encoded_id_is_decoded(transport: Transport, id: str) -> None:
    """citrineos-core#1093, open-ocpp#198"""
    async with gateway(transport, station(id)) as at:
        await at.let_in("/ocpp/" + quote(id, safe=""))
        await at.at.opened()


@pytest.mark.parametrize(
    "path",
    [
        "/ocpp/CP-1/",
        "//ocpp//CP-1",
        "/ocpp/CP-1/CP-1",
        "/ocpp/1.6/CP-1",
        "/ocpp/ocpp2.0.1/CP-1",
        "/ocpp/J/CP-1",
        "/OCPP/CP-1",
        "/ocpp/CP-1?x=1",
        "ws://csms.example/ocpp/CP-1",
    ],
)
async def test_odd_paths_with_one_meaning_are_understood(transport: Transport, path: str) -> None:
    """openems#1401, steve#689, ocpp-go#115; the version in a path decides nothing (OCPP-J 2.1, p. 9)"""
    async with gateway(transport, station()) as at:
        assert await at.let_in(path) == "ocpp1.6"


@pytest.mark.parametrize(
    ("path", "reason", "word"),
    [
        ("/CP-1", "wrong_path", "left /ocpp/ out"),
        ("/ocpp/CP-1/secret", "wrong_path", "only a station id"),
        ("/ocpp%2FCP-1", "wrong_path", "%2F"),
        ("/ocpp/CP%252D1", "unknown_station", "percent-encoded twice"),
        ("/ocpp/CP-1%20", "unknown_station", "white space"),
    ],
)
async def test_paths_that_are_not_clear_are_explained(transport: Transport, path: str, reason: str, word: str) -> None:
    """openems#1401, steve#689, ocpp-go#115"""
    async with gateway(transport, station()) as at:
        status, told, hint = await at.turned_away(path)

    assert (status, told) == (404, reason)
    assert word in hint
    assert "secret" not in hint


async def test_a_path_without_the_prefix_is_taken_where_the_user_name_says_the_same(transport: Transport) -> None:
    async with gateway(transport, station(password=KEY, security="basic")) as at:
        await at.let_in("/CP-1", basic("CP-1", KEY))


# --- passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [KEY, KEY.hex().encode(), KEY.hex().upper().encode()])
async def test_a_key_may_come_as_bytes_or_as_hex(transport: Transport, sent: bytes) -> None:
    """ocpp-cp-simulator#260, Java-OCA-OCPP#163"""
    async with gateway(transport, station(password=KEY, security="basic")) as at:
        await at.let_in("/ocpp/CP-1", basic("CP-1", sent))


@pytest.mark.parametrize("sent", [b"", b"short"])
async def test_a_wrong_password_is_told_with_a_reason(transport: Transport, sent: bytes) -> None:
    """Java-OCA-OCPP#240"""
    async with gateway(transport, station(password=KEY, security="basic")) as at:
        status, reason, hint = await at.turned_away("/ocpp/CP-1", basic("CP-1", sent))

    assert (status, reason) == (401, "wrong_credentials")
    assert "password" in hint


async def test_a_station_may_come_with_its_old_password_for_a_while(transport: Transport) -> None:
    """libocpp#826"""
    async with gateway(transport, station(password=KEY, security="basic")) as at:
        changes = StationChanges(password="the next password of it", overlap=60)
        await at.registrar.update("CP-1", changes, actor="test")
        await at.let_in("/ocpp/CP-1", basic("CP-1", KEY))
        await at.let_in("/ocpp/CP-1", basic("CP-1", b"the next password of it"))


# --- coming back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thread", ["ocpp-go#314", "ocpp-go#358", "citrineos#190", "citrineos-core#583"])
async def test_who_comes_back_is_let_in_and_its_old_connection_ends(transport: Transport, thread: str) -> None:
    async with gateway(transport, station()) as at, trio.open_nursery() as nursery:
        for _ in range(3):
            await RawStation.open(at.at.url + "/CP-1", nursery)
        closed = await at.at.until(ConnectionClosed, 2)
        nursery.cancel_scope.cancel()

    assert [event.cause for event in closed] == ["superseded", "superseded"]


async def test_a_frame_with_reserved_bits_ends_one_connection_and_says_why(transport: Transport) -> None:
    """ocpp-go#358, OCPP.Core#45"""
    async with gateway(transport, station(), compression=False) as at, trio.open_nursery() as nursery:
        broken = await RawStation.open(at.at.url + "/CP-1", nursery)
        await broken.send_raw(frame(b"[2]", rsv=4))
        code, _ = await broken.hung_up()
        (closed,) = await at.at.until(ConnectionClosed)
        await at.let_in()
        nursery.cancel_scope.cancel()

    assert code == 1002
    assert (closed.cause, closed.code) == ("protocol_error", 1002)
    assert closed.reason
