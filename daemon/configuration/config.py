"""The configuration: what can be set, in which unit, with which default, and why that one.

Here stand the sections of the file as frozen values. `sources` reads them from a file, the environment and flags;
`listing` prints them. A key that the contract names for a later release is known here only in order to be refused.
"""
# ruff: noqa: RUF009 (`setting` declares a field, as `attrs.field` does)

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any, Final, Literal, cast

from attrs import Factory, field, frozen

from ...engine.errors import WrongSetting
from ...engine.settings import SHORTEST_WATCH, EngineSettings, Liveness, Retry
from ...transports.handshake.proxy import networks
from .declaring import at_least, nonempty, setting, zero_or_at_least
from .units import Address, Duration
from .webhooks import WebhookSection, WebhooksSection


def _path_prefix(value: str) -> str | None:
    return None if value.startswith("/") and "?" not in value and "#" not in value else 'a path, e.g. "/ocpp"'


def _station_url(value: str | None) -> str | None:
    right = value is None or value.startswith(("ws://", "wss://"))
    return None if right else 'a WebSocket URL without the station id, e.g. "wss://ocpp.example.com/ocpp"'


def _proxies(value: tuple[str, ...]) -> str | None:
    try:
        return None if networks(value) else "at least one address or network"
    except WrongSetting:
        return 'addresses and networks of proxies, e.g. ["10.0.0.7", "10.1.0.0/16"]'


def _origins(value: tuple[str, ...]) -> str | None:
    right = all(re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin) for origin in value)
    return None if right else 'origins of web pages, without a path, e.g. ["https://pages.example.com"]'


@frozen(kw_only=True)
class LogSection:
    """Where the events are kept."""

    url: str = setting(
        "stationkeeper.db",
        unit="path or sqlite:///path",
        reason="a file in the working folder: nothing to install, and one thing to back up",
        check=nonempty,
    )
    secrets_key_file: Path | None = setting(
        None,
        unit="path",
        reason="absent: LOG.key, made at the first start; elsewhere, whoever copies the log's folder cannot open them; "
        "one file a log",
    )


@frozen(kw_only=True)
class StationsSection:
    """Where stations dial in, and what each of them may cost."""

    listen: Address = setting(
        Address("127.0.0.1", 9000),
        unit="host:port",
        reason="this machine alone, until someone decides otherwise",
    )
    tls_listen: Address | None = setting(
        None,
        unit="host:port",
        reason="absent: with a certificate listen speaks TLS; set, stations of profile 1 keep listen for themselves",
    )
    path: str = setting("/ocpp", unit="URL path", reason="the station's id follows it", check=_path_prefix)
    public_url: str | None = setting(
        None,
        unit="URL",
        reason="where stations dial in, if that is not where we listen: behind a proxy that ends TLS, say",
        check=_station_url,
    )
    max_connections: int = setting(
        EngineSettings().max_connections,
        unit="stations",
        reason="about 2 kB each, and 4 kB in the kernel; a takeover is never refused",
        check=at_least(1),
    )
    max_handshakes: int = setting(
        1_000,
        unit="sockets",
        reason="undecided ones at once: a fleet that comes back within 10 s fits, a flood of strangers does not",
        check=at_least(1),
    )
    handshake_rate: int = setting(
        0,
        unit="stations a second",
        reason="0: as many as this machine bears; a rate protects what stands behind it, and gives each its turn",
        check=at_least(0),
    )
    handshake_timeout: Duration = setting(
        Duration(10.0),
        unit="duration",
        reason="from accept to 101: mobile networks take seconds, port scanners take for ever",
        check=at_least(0.1),
    )
    max_message: int = setting(
        65_536, unit="bytes", reason="OCPP messages are rarely above 20 kB; one peer must not fill the memory",
        check=at_least(1_024),
    )  # fmt: skip
    compression: bool = setting(
        True,
        unit="true or false",
        reason="stations that offer it may compress what they send (RFC 7692), up to max_message when inflated",
    )
    security: Literal["basic", "mtls", "none"] = setting(
        "basic",
        unit="basic, mtls or none",
        reason="passwords are asked for where a station's record asks for nothing else; mtls asks for certificates; "
        "none lets any registered id in, for networks that are closed by other means",
    )
    tls_certificate: Path | None = setting(
        None, unit="path of a PEM file", reason="absent: plain ws://, with TLS ended by a proxy in front"
    )
    tls_key: Path | None = setting(None, unit="path of a PEM file", reason="goes with tls_certificate")
    tls_certificate_rsa: Path | None = setting(
        None, unit="path of a PEM file", reason="beside an ECDSA tls_certificate, for stations that know RSA alone"
    )
    tls_key_rsa: Path | None = setting(None, unit="path of a PEM file", reason="goes with tls_certificate_rsa")
    tls_client_ca: Path | None = setting(
        None, unit="path of a PEM file", reason="absent: no station is asked for a certificate (security profile 3)"
    )
    tls_client_organization: str | None = setting(
        None, unit="text", reason="the O of client certificates; absent: tls_client_ca vouches for our stations alone"
    )
    proxy_protocol: bool = setting(
        False,
        unit="true or false",
        reason="stations connect themselves; true: the proxies in front tell who they are (PROXY protocol, version 2)",
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1"),
        unit="list of addresses and networks",
        reason="with proxy_protocol: a proxy on this machine; whoever is listed must send the header, and is believed",
        check=_proxies,
    )
    origins: tuple[str, ...] = setting(
        (), unit="list of origins", reason="no web page connects; stations send no Origin, or their own", check=_origins
    )
    transport: Literal["dense", "trio-websocket"] = setting(
        "dense", unit="dense or trio-websocket", reason="a tenth of the memory and a third of the CPU a station"
    )


@frozen(kw_only=True)
class LivenessSection:
    """How silence is found, and how long an absence of our own is forgiven. A station may have other values."""

    ping_interval: Duration = setting(
        Duration(Liveness().ping_interval),
        unit="duration",
        reason="of silence until a ping; under the 30 s at which the first NATs forget; 0 never pings",
        check=zero_or_at_least(SHORTEST_WATCH),
    )
    ping_timeout: Duration = setting(
        Duration(Liveness().ping_timeout),
        unit="duration",
        reason="45 s with the interval: inside the minute that EU 2025/655 allows",
        check=at_least(SHORTEST_WATCH),
    )
    silence: Duration = setting(
        Duration(Liveness().silence),
        unit="duration",
        reason="alone decides where no ping is sent; three times a usual Heartbeat interval",
        check=at_least(SHORTEST_WATCH),
    )
    reconnect_grace: Duration = setting(
        Duration(EngineSettings().reconnect_grace),
        unit="duration",
        reason="after our own stop, before its stations count as offline; set it above your stations' back-off",
    )
    settling: Duration = setting(
        Duration(EngineSettings().settling),
        unit="duration",
        reason="offline for so long is confirmed: most mobile drops are over by then",
        check=at_least(0.1),
    )


@frozen(kw_only=True)
class HttpSection:
    """The API and the dashboard."""

    listen: Address = setting(
        Address("127.0.0.1", 8080), unit="host:port", reason="this machine alone, until someone decides otherwise"
    )
    token_file: Path = setting(
        Path("tokens"),
        unit="path",
        reason="a line each: admin <token> or read <token>; without the file the API stays on loopback",
    )


def _host() -> str:
    return socket.gethostname() or "gateway"


@frozen(kw_only=True)
class GatewaySection:
    """This gateway."""

    name: str = field(
        default=Factory(_host),
        metadata={"unit": "text", "reason": "the machine's name; keep it over restarts", "check": nonempty},
    )
    shutdown_timeout: Duration = setting(
        Duration(EngineSettings().shutdown_timeout),
        unit="duration",
        reason="from the first signal to the end; systemd waits 90 s",
        check=at_least(1),
    )
    drain: Duration = setting(
        Duration(EngineSettings().drain),
        unit="duration",
        reason="at a stop, until the last station is closed: 0s closes all at once, more spreads their coming back",
    )


@frozen(kw_only=True)
class Config:
    """All settings in force."""

    log: LogSection = LogSection()
    stations: StationsSection = StationsSection()
    liveness: LivenessSection = LivenessSection()
    webhooks: WebhooksSection = WebhooksSection()
    webhook: tuple[WebhookSection, ...] = ()
    http: HttpSection = HttpSection()
    gateway: GatewaySection = Factory(GatewaySection)

    def engine_settings(self) -> EngineSettings:
        """Return what the engine is told."""
        return EngineSettings(
            liveness=Liveness(
                ping_interval=self.liveness.ping_interval,
                ping_timeout=self.liveness.ping_timeout,
                silence=self.liveness.silence,
            ),
            reconnect_grace=self.liveness.reconnect_grace,
            settling=self.liveness.settling,
            max_connections=self.stations.max_connections,
            retry=Retry(
                delays=cast("tuple[float, ...]", self.webhooks.retry), retry_after_cap=self.webhooks.retry_after_cap
            ),
            concurrency=self.webhooks.concurrency,
            webhook_concurrency=self.webhooks.webhook_concurrency,
            host_concurrency=self.webhooks.host_concurrency,
            webhook_rate=self.webhooks.rate,
            witness=self.webhooks.checkpoint,
            shutdown_timeout=self.gateway.shutdown_timeout,
            drain=self.gateway.drain,
        )


SECTIONS: Final[dict[str, type[Any]]] = {
    "log": LogSection,
    "stations": StationsSection,
    "liveness": LivenessSection,
    "webhooks": WebhooksSection,
    "http": HttpSection,
    "gateway": GatewaySection,
}
"""The sections that stand once, in the order of the file. `[[webhook]]` may stand many times."""

LATER: Final = {
    ("stations", "relay"): "this release answers stations itself and does not relay them to a CSMS yet; remove the key",
}
"""Keys of the contract that this release does not do: refused, never silently ignored."""
