"""Security profiles over real sockets, with a real client, over each transport: who comes in, and what is told."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from attrs import define
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.trio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stationkeeper.daemon.registry.admission import RegistryAdmission
from stationkeeper.daemon.registry.profiles import Rules
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.revocation import drop_the_revoked
from stationkeeper.daemon.tls import StationTls
from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed as Closed
from stationkeeper.engine.events import ConnectionOpened, HandshakeRefused
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import outbox, presence, registry, webhooks
from stationkeeper.transports import DenseStations, WebSocketStations

Transport = type[WebSocketStations] | type[DenseStations]

KEY = bytes(range(20))
OURS = "Ours Ltd"


@pytest.fixture(params=[WebSocketStations, DenseStations])
def stations_of(request: pytest.FixtureRequest) -> Transport:
    """The transport by which stations come in."""
    transport: Transport = request.param
    return transport


@define
class Site:
    """Where stations dial in, and who vouches for whom."""

    server_ca: trustme.CA
    station_ca: trustme.CA
    tls: StationTls | None
    log: MemoryLog
    engine: Engine
    registrar: Registrar

    def trusting(self) -> ssl.SSLContext:
        """Return the TLS settings of a station that shows no certificate."""
        context = ssl.create_default_context()
        self.server_ca.configure_trust(context)
        return context

    def showing(
        self,
        name: str = "CP-7",
        organization: str = OURS,
        *,
        authority: trustme.CA | None = None,
        until: datetime | None = None,
    ) -> ssl.SSLContext:
        """Return the TLS settings of a station that shows a certificate."""
        context = self.trusting()
        issued = (authority or self.station_ca).issue_cert(
            "station.invalid", common_name=name, organization_name=organization, not_after=until
        )
        issued.configure_cert(context)
        return context

    @asynccontextmanager
    async def dial(
        self, tls: ssl.SSLContext | None = None, password: bytes | None = None
    ) -> AsyncIterator[ClientConnection]:
        """Dial in as CP-7."""
        headers = {} if password is None else {"Authorization": "Basic " + b64encode(b"CP-7:" + password).decode()}
        url, spoken = f"{self.engine.urls[0]}/CP-7", [Subprotocol("ocpp1.6")]
        async with connect(url, ssl=tls, subprotocols=spoken, additional_headers=headers) as station:
            yield station

    async def comes_in(self, tls: ssl.SSLContext | None = None, password: bytes | None = None) -> ConnectionOpened:
        """Dial in and hang up; return what was recorded."""
        async with self.dial(tls, password):
            (*_, opened) = self.told(ConnectionOpened)
        assert isinstance(opened, ConnectionOpened)
        return opened

    async def is_refused(self, tls: ssl.SSLContext | None = None, password: bytes | None = None) -> HandshakeRefused:
        """Dial in for nothing; return what was recorded."""
        status = 400
        try:
            async with self.dial(tls, password):
                pass
        except InvalidStatus as error:
            status = error.response.status_code
        except (InvalidMessage, OSError, trio.BrokenResourceError):
            pass  # TLS 1.3: the alert comes after what the station takes for the end of the handshake
        else:
            raise AssertionError("it was let in")
        while not (refused := self.told(HandshakeRefused)):
            await self.engine.beyond(self.engine.position)
        assert isinstance(refused[-1], HandshakeRefused)
        assert refused[-1].status == status
        return refused[-1]

    def told(self, kind: type[ConnectionOpened | Closed | HandshakeRefused]) -> list[object]:
        return [decode(recorded) for recorded in self.log.read(kinds={kind.kind})]


def write_files(folder: Path, server_ca: trustme.CA, station_ca: trustme.CA) -> None:
    """Write down what the server shows, and whom it trusts."""
    for name, kind in (("server", trustme.KeyType.ECDSA), ("rsa", trustme.KeyType.RSA)):
        issued = server_ca.issue_cert("127.0.0.1", key_type=kind)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    station_ca.cert_pem.write_to_path(folder / "stations.pem")


@asynccontextmanager
async def open_site(folder: Path, transport: Transport, *, tls: bool = True, rsa: bool = False) -> AsyncIterator[Site]:
    server_ca, station_ca, log, rules = trustme.CA(), trustme.CA(), MemoryLog(), Rules(organization=OURS)
    write_files(folder, server_ca, station_ca)
    beside = (folder / "rsa.pem", folder / "rsa.key") if rsa else None
    own = StationTls(folder / "server.pem", folder / "server.key", rsa=beside, client_ca=folder / "stations.pem")
    ended = own if tls else None
    admission = RegistryAdmission(rules=rules)
    stations = transport("127.0.0.1:0", admit=admission, tls=ended)
    with trio.fail_after(60):
        async with open_engine(
            log, transports=[stations], projections=[presence, registry, webhooks, outbox]
        ) as engine:
            registrar = Registrar(engine)
            admission.attach(engine, registrar.credentials)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(drop_the_revoked, engine, open=False, rules=rules))
                yield Site(server_ca, station_ca, ended, log, engine, registrar)
                nursery.cancel_scope.cancel()


# --- who comes in -----------------------------------------------------------------------------------------------------


async def test_profile_1_comes_in_with_its_password_over_plain_ws(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of, tls=False) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY, profile=1), actor="")
        opened = await site.comes_in(password=KEY)

    assert (opened.security, opened.tls, opened.certificate) == ("basic", None, None)


async def test_profile_2_comes_in_with_its_password_over_tls(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY, profile=2), actor="")
        opened = await site.comes_in(site.trusting(), KEY)

    assert (opened.security, opened.tls, opened.certificate) == ("basic", "TLSv1.3", None)


@pytest.mark.parametrize("name", ["CP-7", "SN-0007"])
async def test_profile_3_comes_in_with_a_certificate_of_its_id_or_serial(
    tmp_path: Path, stations_of: Transport, name: str
) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3, serial="SN-0007"), actor="")
        opened = await site.comes_in(site.showing(name))

    assert (opened.security, opened.tls) == ("mtls", "TLSv1.3")
    assert opened.certificate


async def test_profiles_2_and_3_share_a_port(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY), actor="")
        first = await site.comes_in(site.trusting(), KEY)
        await site.registrar.update("CP-7", StationChanges(profile=3), actor="")
        second = await site.comes_in(site.showing())

    assert (first.security, second.security) == ("basic", "mtls")


async def test_a_station_that_knows_rsa_alone_comes_in(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of, rsa=True) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY), actor="")
        old = site.trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
        opened = await site.comes_in(old, KEY)

    assert opened.tls == "TLSv1.2"


# --- who does not -----------------------------------------------------------------------------------------------------


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        refused = await site.is_refused(site.showing("CP-8"))

    assert (refused.status, refused.reason, refused.claimed) == (403, "wrong_certificate", "CP-7")
    assert "none of its certificate's names is its id" in refused.hint
    assert "CP-8" not in refused.hint


async def test_a_certificate_of_another_organization_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        refused = await site.is_refused(site.showing(organization="Theirs Ltd"))

    assert (refused.status, refused.reason) == (403, "wrong_certificate")
    assert "of another organization; it must be 'Ours Ltd'" in refused.hint
    assert "Theirs Ltd" not in refused.hint
    assert OURS in refused.hint


async def test_a_certificate_of_a_foreign_authority_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        refused = await site.is_refused(site.showing(authority=trustme.CA()))

    assert (refused.status, refused.reason) == (400, "tls_failed")
    assert "not from an authority that we trust" in refused.hint


async def test_a_certificate_whose_time_is_over_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        refused = await site.is_refused(site.showing(until=yesterday))

    assert (refused.status, refused.reason) == (400, "tls_failed")
    assert "expired" in refused.hint


async def test_without_a_certificate_a_password_does_not_help(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        nothing = await site.is_refused(site.trusting())
        password = await site.is_refused(site.trusting(), KEY)

    assert (nothing.status, nothing.reason) == (password.status, password.reason) == (403, "wrong_profile")
    assert "showed no client certificate" in nothing.hint


async def test_a_station_with_another_profile_than_its_own_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY, profile=1), actor="")
        over_tls = await site.is_refused(site.trusting(), KEY)
    async with open_site(tmp_path, stations_of, tls=False) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY, profile=2), actor="")
        plain = await site.is_refused(password=KEY)

    assert (over_tls.status, over_tls.reason) == (plain.status, plain.reason) == (403, "wrong_profile")
    assert "ws:// URL" in over_tls.hint
    assert "wss:// URL" in plain.hint


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_tls_1_1_is_refused(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", password=KEY), actor="")
        old = site.trusting()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        refused = await site.is_refused(old, KEY)

    assert refused.reason == "tls_failed"
    assert "too old" in refused.hint


# --- what changes meanwhile -------------------------------------------------------------------------------------------


async def test_certificates_are_reloaded_under_a_connection_that_stands(tmp_path: Path, stations_of: Transport) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", profile=3), actor="")
        old = site.showing()
        async with site.dial(old) as station:
            site.server_ca, site.station_ca = trustme.CA(), trustme.CA()
            write_files(tmp_path, site.server_ca, site.station_ca)
            assert site.tls is not None
            site.tls.reload()

            await answers_a_ping(station)
            with pytest.raises((ssl.SSLError, trio.BrokenResourceError)):
                async with site.dial(old):
                    pass  # it does not know our new authority
            refused = await site.is_refused(site.showing(authority=trustme.CA()))
            await answers_a_ping(station)
            taken_over = await site.comes_in(site.showing())

    assert refused.reason == "tls_failed"
    assert taken_over.security == "mtls"


async def answers_a_ping(station: ClientConnection) -> None:
    pong = await station.ping()
    await pong.wait()


@pytest.mark.parametrize(
    "changes",
    [
        StationChanges(serial="SN-8"),
        StationChanges(profile=2, password=KEY),
        StationChanges(security="basic", password=KEY),
    ],
)
async def test_who_would_not_be_let_in_again_as_it_came_is_dropped(
    tmp_path: Path, stations_of: Transport, changes: StationChanges
) -> None:
    async with open_site(tmp_path, stations_of) as site:
        await site.registrar.register(NewStation(id="CP-7", security="mtls", serial="SN-7"), actor="")
        async with site.dial(site.showing("SN-7")) as station:
            await site.registrar.update("CP-7", StationChanges(name="Bay 7"), actor="")
            await answers_a_ping(station)
            await site.registrar.update("CP-7", changes, actor="")
            with pytest.raises(ConnectionClosed):
                await station.recv()
            while not (closed := site.told(Closed)):
                await site.engine.beyond(site.engine.position)

    assert isinstance(closed[-1], Closed)
    assert closed[-1].cause == "credential_revoked"
