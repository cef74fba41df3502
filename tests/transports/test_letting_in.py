"""Letting in, step by step, with a door that notes what it is asked (semantics 7, `accept`)."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import pytest
import trio
import trio.lowlevel
import trustme
from raw_station import RawStation, Rejected, dial_tcp, frame, request

from stationkeeper.engine.errors import LogUnavailable
from stationkeeper.engine.events import PingSettings
from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.stations import Arrival, Busy, Connection, Ending, Hint, Link, NotAdmitted, OnMessage
from stationkeeper.engine.watch.refusals import HINT_LENGTH
from stationkeeper.transports import AnyStation, DenseStations, Knock, Refusal, WebSocketStations, Welcome
from stationkeeper.transports.admission import Admit

Stations: type[WebSocketStations | DenseStations] = WebSocketStations


@pytest.fixture(autouse=True, params=[WebSocketStations, DenseStations])
def _each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here is for both transports."""
    monkeypatch.setitem(globals(), "Stations", request.param)


written_later = pytest.mark.parametrize("_each_transport", [WebSocketStations], indirect=True)
"""For the transport whose 101 a library writes, so that something may come between; the other writes it when told."""


class Noted:
    """An admitted connection that remembers what it is told."""

    id = "run-1"
    received = 0
    sent = 0
    liveness = Liveness()

    def __init__(self, arrival: Arrival, link: Link) -> None:
        self.arrival = arrival
        self.link = link
        self.heards = 0
        self.endings: list[Ending] = []
        self.over = trio.Event()

    @property
    def station(self) -> str:
        return self.arrival.station

    def heard(self) -> None:
        self.heards += 1

    def ended(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.over.set()

    async def send(self, text: str) -> None:
        await self.link.send(text)


class OneUndecided:
    """One handshake that a door counts as undecided."""

    def __init__(self, door: NotingDoor) -> None:
        self._door: NotingDoor | None = door

    def decided(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            door.undecided -= 1
            if door.undecided == 0:
                door.quiet.set()

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self.decided()


class NotingDoor:
    """A door that admits everybody, unless it was told otherwise, and remembers all."""

    def __init__(self) -> None:
        self.busy_with: Busy | None = None
        self.before_admitting: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
        self.on_admission: Callable[[Noted], object] = id
        self.on_refusal: Callable[[], object] = dict
        self.admitted: list[Noted] = []
        self.refusals: list[dict[str, object]] = []
        self.undecided = 0
        self.nursery: trio.Nursery | None = None
        self.kept = 0
        self.quiet = trio.Event()

    def kept_waiting(self) -> None:
        self.kept += 1

    def busy(self, station: str) -> Busy | None:
        return self.busy_with

    def handshake(self) -> OneUndecided:
        self.undecided += 1
        return OneUndecided(self)

    def let_in(self, arrival: Arrival, link: Link, decided: Callable[[LogUnavailable | None], None]) -> Noted:
        connection = Noted(arrival, link)

        async def decide() -> None:
            try:
                await self.before_admitting()
            except LogUnavailable as error:
                decided(error)
                return
            self.admitted.append(connection)
            self.on_admission(connection)
            decided(NotAdmitted(Busy(reason="ended", retry_after=5)) if connection.endings else None)

        assert self.nursery is not None
        self.nursery.start_soon(decide)
        return connection

    async def admit(self, arrival: Arrival, link: Link) -> Noted:
        await self.before_admitting()
        connection = Noted(arrival, link)
        self.admitted.append(connection)
        self.on_admission(connection)
        return connection

    def refused(self, claimed: str, *, reason: str, status: int, hint: Hint = "", remote: str = "") -> None:
        self.on_refusal()
        self.refusals.append({"claimed": claimed, "reason": reason, "status": status, "hint": hint, "remote": remote})


class Stage:
    def __init__(self, door: NotingDoor, url: str, nursery: trio.Nursery) -> None:
        self.door = door
        self.url = url
        self.nursery = nursery

    async def dial(
        self,
        *offered: str,
        path: str = "/CP-1",
        headers: Sequence[tuple[bytes, bytes]] = (),
        tls: ssl.SSLContext | None = None,
    ) -> RawStation:
        offer = offered or ("ocpp1.6",)
        return await RawStation.open(self.url + path, self.nursery, subprotocols=offer, headers=headers, tls=tls)

    async def rejected(self) -> Rejected:
        with pytest.raises(Rejected) as caught:
            await self.dial()
        return caught.value


@asynccontextmanager
async def stage(
    admit: Admit | None = None,
    *,
    handshake_timeout: float = 5.0,
    max_handshakes: int = 100,
    on_message: OnMessage | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Stage]:
    stations = Stations(
        "127.0.0.1:0",
        admit=admit or AnyStation(),
        handshake_timeout=handshake_timeout,
        max_handshakes=max_handshakes,
        on_message=on_message,
        tls=tls,
    )
    door = NotingDoor()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            url = await stations.bind()
            door.nursery = nursery
            nursery.start_soon(stations.serve, door)
            yield Stage(door, url, nursery)
            nursery.cancel_scope.cancel()


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context, and that of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def basic(pair: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Authorization", b"Basic " + b64encode(pair))]


# --- who decides ------------------------------------------------------------------------------------------------------


async def test_whoever_decides_is_told_all_there_is_to_know() -> None:
    knocks: list[Knock] = []

    async def admit(knock: Knock) -> Welcome | Refusal:
        knocks.append(knock)
        return Welcome(station=knock.station)

    async with stage(admit) as at:
        await at.dial("ocpp2.1", "ocpp1.6", path="/CP%207", headers=basic(b"CP 7:\x00\xffkey"))
        await at.dial(path="/CP-8", headers=basic(b"CP-7:key"))

    assert knocks[0] == Knock(
        station="CP 7",
        password=b"\x00\xffkey",
        username=b"CP 7",
        username_matches=True,
        offered=("ocpp2.1", "ocpp1.6"),
        remote="127.0.0.1",
    )
    assert (knocks[1].username, knocks[1].password, knocks[1].username_matches) == (b"CP-7", b"key", False)


async def test_what_was_decided_is_what_is_admitted() -> None:
    welcome = Welcome(
        station="CP-1", security="basic", credential="c-1", liveness=PingSettings(ping_interval=0.0, silence=60.0)
    )

    async def admit(knock: Knock) -> Welcome | Refusal:
        return welcome

    async with stage(admit) as at:
        station = await at.dial("ocpp9", "ocpp2.0.1", "ocpp1.6")
        (connection,) = at.door.admitted

    assert station.subprotocol == "ocpp2.0.1"
    assert connection.arrival == Arrival(
        station="CP-1",
        subprotocol="ocpp2.0.1",
        security="basic",
        credential="c-1",
        liveness=welcome.liveness,
        remote="127.0.0.1",
    )


async def test_a_refusal_is_answered_before_any_upgrade() -> None:
    async def admit(knock: Knock) -> Welcome | Refusal:
        return Refusal(status=401, reason="wrong_credentials", hint="set its key anew")

    async with stage(admit) as at:
        rejected = await at.rejected()

    assert rejected.status == 401
    assert rejected.headers["www-authenticate"].startswith("Basic realm=")
    assert at.door.admitted == []
    assert at.door.refusals == [
        {
            "claimed": "CP-1",
            "reason": "wrong_credentials",
            "status": 401,
            "hint": "set its key anew",
            "remote": "127.0.0.1",
        }
    ]


async def test_a_fault_in_deciding_lets_nobody_in_and_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def admit(knock: Knock) -> Welcome | Refusal:
        if knock.station == "CP-1":
            raise LookupError("a fault of ours")
        return Welcome(station=knock.station)

    async with stage(admit) as at:
        assert (await at.rejected()).status == 500
        await at.dial(path="/CP-2")

    assert "a fault of ours" in caplog.text
    assert [connection.station for connection in at.door.admitted] == ["CP-2"]


async def test_a_fault_in_parting_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("a fault of ours")

    async with stage() as at:
        at.door.on_refusal = fail
        async with await dial_tcp(at.url) as stream:
            await stream.send_all(b"nonsense\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")
            assert await stream.receive_some() == b""
        await at.dial()

    assert "a fault of ours" in caplog.text


async def test_who_is_busy_says_when_to_come_again() -> None:
    async with stage() as at:
        at.door.busy_with = Busy(reason="draining", retry_after=7.2)
        rejected = await at.rejected()

    assert rejected.status == 503
    assert 8 <= int(rejected.headers["retry-after"]) <= 15  # not all who are turned away in one moment come in one
    assert at.door.refusals[0]["reason"] == "draining"


async def test_a_log_that_cannot_be_written_is_a_503() -> None:
    async def fail() -> None:
        raise LogUnavailable("no space left on device")

    async with stage() as at:
        at.door.before_admitting = fail
        rejected = await at.rejected()

    assert rejected.status == 503
    assert 10 <= int(rejected.headers["retry-after"]) <= 20
    assert at.door.refusals[0]["reason"] == "log_unavailable"


async def test_who_is_not_admitted_after_all_is_told_why_and_when_to_come_again() -> None:
    async def fail() -> None:
        raise NotAdmitted(Busy(reason="full", retry_after=60))

    async with stage() as at:
        at.door.before_admitting = fail
        rejected = await at.rejected()

    assert rejected.status == 503
    assert 60 <= int(rejected.headers["retry-after"]) <= 120
    assert at.door.refusals[0]["reason"] == "full"


# --- the subprotocol --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [["ocpp1.5", "mqtt"], []])
async def test_nothing_in_common_is_a_101_and_then_the_end(offered: list[str]) -> None:
    async with stage() as at:
        station = await RawStation.open(at.url + "/CP-1", at.nursery, subprotocols=offered)

        assert station.subprotocol is None
        assert (await station.hung_up())[0] == 1002
    assert at.door.admitted == []
    assert [(refusal["status"], refusal["reason"]) for refusal in at.door.refusals] == [(101, "no_subprotocol")]


async def test_a_hint_is_short_however_much_is_offered() -> None:
    async with stage() as at:
        offered = [f"{'x' * 100}{number}" for number in range(60)]
        station = await RawStation.open(at.url + "/CP-1", at.nursery, subprotocols=["ocpp1.5", *offered])
        await station.hung_up()
        hint = str(at.door.refusals[0]["hint"])

    assert hint.startswith("it offers ocpp1.5, xxx")
    assert "we speak ocpp1.6, ocpp2.0.1 and ocpp2.1" in hint
    assert len(hint) <= HINT_LENGTH


async def test_a_station_with_a_default_may_offer_nothing() -> None:
    async with stage(AnyStation("ocpp1.6")) as at:
        station = await RawStation.open(at.url + "/CP-1", at.nursery, subprotocols=[])
        (connection,) = at.door.admitted

        assert station.subprotocol is None
        assert connection.arrival.subprotocol == "ocpp1.6"


# --- peers that go, and time that runs out ----------------------------------------------------------------------------


async def test_who_is_gone_before_it_is_admitted_leaves_no_event() -> None:
    hung_up = trio.Event()

    async def admit(knock: Knock) -> Welcome | Refusal:
        await hung_up.wait()
        return Welcome(station=knock.station)

    async with stage(admit) as at:
        stream = await dial_tcp(at.url)
        await stream.send_all(request())
        await stream.aclose()
        hung_up.set()
        await at.door.quiet.wait()

    assert at.door.admitted == []
    assert at.door.refusals == []


async def test_who_is_gone_after_it_is_admitted_has_an_aborted_handshake() -> None:
    async with stage() as at:
        stream = await dial_tcp(at.url)
        at.door.before_admitting = stream.aclose
        await stream.send_all(request())
        await at.door.quiet.wait()
        (connection,) = at.door.admitted
        await connection.over.wait()

    assert connection.endings == [Ending(side="network", cause="handshake_aborted")]


@pytest.mark.parametrize("where", ["deciding", "admitting"])
async def test_a_handshake_that_we_cannot_decide_in_time_is_a_503(where: str) -> None:
    async def admit(knock: Knock) -> Welcome | Refusal:
        if where == "deciding":
            await trio.sleep_forever()
        return Welcome(station=knock.station)

    async with stage(admit, handshake_timeout=0.2) as at:
        at.door.before_admitting = trio.sleep_forever
        rejected = await at.rejected()

    assert rejected.status == 503
    assert "retry-after" in rejected.headers
    assert at.door.refusals[0]["reason"] == "handshake_timeout"


@written_later
async def test_after_an_order_that_comes_before_the_101_there_is_none() -> None:
    async with stage() as at:
        at.door.on_admission = lambda connection: connection.link.drop(1001, "superseded", abort=False)
        with pytest.raises(trio.BrokenResourceError, match="without an answer"):
            await at.dial()


async def test_a_ping_that_is_due_before_the_101_does_not_spoil_it() -> None:
    async with stage() as at:
        at.door.on_admission = lambda connection: connection.link.ping()
        station = await at.dial()

        assert station.subprotocol == "ocpp1.6"


@written_later
async def test_a_handshake_whose_time_ends_between_admission_and_101_is_aborted() -> None:
    async def late() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.3)

    async with stage(handshake_timeout=0.2) as at:
        at.door.before_admitting = late
        with pytest.raises(trio.BrokenResourceError, match="without an answer"):
            await at.dial()
        (connection,) = at.door.admitted
        await connection.over.wait()

    assert connection.endings == [Ending(side="network", cause="handshake_aborted")]
    assert at.door.refusals == []


async def test_who_is_being_decided_about_makes_room_for_nobody() -> None:
    decided = trio.Event()

    async def admit(knock: Knock) -> Welcome | Refusal:
        await decided.wait()
        return Welcome(station=knock.station)

    async with stage(admit, max_handshakes=2) as at, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(partial(at.dial, path=f"/CP-{number}"))
        await trio.sleep(1.3)
        undecided = at.door.undecided
        decided.set()

    assert undecided == 2
    assert len(at.door.admitted) == 4
    assert at.door.refusals == []


async def test_who_says_nothing_makes_room_with_a_503_and_whoever_has_begun_does_not() -> None:
    async with stage(max_handshakes=2) as at, await dial_tcp(at.url) as slow, await dial_tcp(at.url) as silent:
        await slow.send_all(request()[:60])
        await at.dial(path="/CP-2")
        answer = await silent.receive_some()
        await slow.send_all(request()[60:])
        let_in = await slow.receive_some()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert let_in.startswith(b"HTTP/1.1 101 ")
    assert [(refusal["status"], refusal["reason"]) for refusal in at.door.refusals] == [(503, "crowded")]


async def test_who_is_in_its_tls_handshake_makes_room_for_nobody() -> None:
    server, client = tls_contexts()
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = client.wrap_bio(inward, outward, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    async with stage(tls=server, max_handshakes=1) as at, await dial_tcp(at.url) as slow:
        await slow.send_all(outward.read())
        at.nursery.start_soon(partial(at.dial, path="/CP-2", tls=client))
        await trio.sleep(1.3)
        inward.write(await slow.receive_some())
        hello.do_handshake()
        hello.write(request())
        await slow.send_all(outward.read())
        await at.door.quiet.wait()

        assert [connection.station for connection in at.door.admitted][:1] == ["CP-1"]
        assert at.door.refusals == []


async def test_a_station_that_vanishes_without_a_word_does_not_hold_the_count_of_handshakes() -> None:
    async with stage(handshake_timeout=0.2) as at, await dial_tcp(at.url):
        await at.door.quiet.wait()

        assert at.door.undecided == 0


# --- looking ----------------------------------------------------------------------------------------------------------


async def test_a_look_finds_bytes_that_nobody_has_read_yet_and_no_end() -> None:
    async with stage() as at:
        station = await at.dial()
        link = at.door.admitted[0].link
        nothing = link.look()
        os.write(station.tcp.socket.fileno(), b"\x81")
        found = link.look()
        await trio.testing.wait_all_tasks_blocked(0.01)
        read = link.look()
        await station.lose()
        end = link.look()

        assert (nothing, found, read, end) == (False, True, False, False)
        assert at.door.admitted[0].heards == 1


# --- answers that come too late ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", range(8))
async def test_a_reset_that_an_answer_meets_first_is_a_loss_and_no_fault(
    attempt: int, caplog: pytest.LogCaptureFixture
) -> None:
    stations: list[RawStation] = []

    async def answer(connection: Connection, text: str) -> None:
        stations[0].reset()
        await connection.send("too late")

    async with stage(on_message=answer) as at:
        stations.append(await at.dial())
        await stations[0].send("question")
        (connection,) = at.door.admitted
        await connection.over.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)

    assert connection.endings == [Ending(side="network", cause="network_lost")]
    assert caplog.records == []


async def test_an_answer_after_the_end_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    answered = trio.Event()

    async def answer(connection: Connection, text: str) -> None:
        await at.door.admitted[0].over.wait()
        answered.set()
        await connection.send("too late")

    async with stage(on_message=answer) as at:
        station = await at.dial()
        await station.send("question")
        await station.close(1000)
        await answered.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)

    assert at.door.admitted[0].endings == [Ending(side="station", cause="station_closed", code=1000)]
    assert caplog.records == []


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_client_certificate_is_read() -> None:
    authority, knocks = trustme.CA(), []

    async def admit(knock: Knock) -> Welcome | Refusal:
        knocks.append(knock)
        return Welcome(station=knock.station, security="mtls")

    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("cp-1.example", common_name="CP-1").configure_cert(client)
    async with stage(admit, tls=server) as at:
        await at.dial(tls=client)
        arrival = at.door.admitted[0].arrival

    assert knocks[0].certificate is not None
    assert knocks[0].certificate.names == ("CP-1", "cp-1.example")
    assert arrival.certificate == knocks[0].certificate.serial
    assert (arrival.security, arrival.tls) == ("mtls", "TLSv1.3")


async def test_plain_http_on_a_tls_port_is_recorded_with_a_hint() -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    async with stage(tls=server) as at, await dial_tcp(at.url) as stream:
        await stream.send_all(request())
        await at.door.quiet.wait()

    assert at.door.refusals[0]["reason"] == "tls_failed"
    assert "wss://" in str(at.door.refusals[0]["hint"])


async def test_a_reset_before_the_tls_handshake_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    server, client = tls_contexts()
    async with stage(tls=server) as at:
        standing = await at.dial(tls=client)
        for hello in (b"", b"\x16", b"\x16\x03\x01"):
            place = urlsplit(at.url)
            with socket.create_connection((place.hostname, place.port)) as peer:  # no await: accepted when it is over
                peer.send(hello)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await at.dial(path="/CP-2", tls=client)
        await standing.close()
        await at.door.admitted[0].over.wait()

    assert caplog.records == []


async def secured(at: Stage, client: ssl.SSLContext) -> tuple[trio.SocketStream, trio.SSLStream[trio.SocketStream]]:
    """Do a TLS handshake with a stage."""
    place = urlsplit(at.url)
    assert place.hostname is not None
    assert place.port is not None
    beneath = await trio.open_tcp_stream(place.hostname, place.port)
    above = trio.SSLStream(beneath, client, server_hostname=place.hostname)
    await above.do_handshake()
    return beneath, above


async def test_more_than_one_read_of_early_messages_in_one_tls_record_is_handled_at_once() -> None:
    server, client = tls_contexts()
    handled: list[str] = []

    async def handle(connection: Connection, text: str) -> None:
        handled.append(text)

    async with stage(tls=server, on_message=handle) as at:
        beneath, above = await secured(at, client)
        async with beneath:
            await above.send_all(request("/ocpp/CP-1") + frame(b"x" * 1000) * 8)
            while len(handled) < 8:  # noqa: ASYNC110 - nobody tells of it
                await trio.sleep(0.01)

    assert handled == ["x" * 1000] * 8


async def test_a_part_of_a_tls_record_is_proof_of_life() -> None:
    server, client = tls_contexts()
    async with stage(tls=server) as at:
        beneath, above = await secured(at, client)
        async with beneath:
            await above.send_all(request("/ocpp/CP-1"))
            await above.receive_some()
            (connection,) = at.door.admitted
            before = connection.heards
            await beneath.send_all(b"\x17\x03\x03\x00")  # the head of a record, and not all of it
            while connection.heards == before:  # noqa: ASYNC110 - nobody tells of it
                await trio.sleep(0.01)
