"""The daemon: everything wired together, its order of start and shutdown (semantics 7), and what signals do.

The HTTP server stands outside the engine: it answers, that nobody is let in yet, while the log is folded, and goes on
answering while the engine stops. Nothing of it can cancel a station.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncIterable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import frozen

from ..engine.clock import SystemClock
from ..engine.core import Engine
from ..engine.errors import WrongSetting
from ..engine.log.driver import log_path
from ..engine.run import open_engine
from ..projections import conflicts, deliveries, feed, outbox, presence, refusals, registry, settling, webhooks
from ..transports.gate.gate import Gate
from ..transports.responder import Responder
from ..transports.webhooks.sender import WebhookSender
from . import systemd
from .app import create_app
from .configuration.config import Config
from .configuration.webhooks import WebhooksSection
from .doors import open_doors
from .files import allow_files
from .http.asgi import HttpServer, serve_http
from .http.front import Front
from .http.tokens import Tokens, check_exposure, is_loopback
from .registry.admission import RegistryAdmission
from .registry.checking import PATIENCE
from .registry.profiles import Rules
from .registry.registrar import Registrar
from .registry.revocation import drop_the_revoked
from .registry.standing import bring_into_line, policy_of, read_standing
from .retire import retire_secrets
from .secrets_key import find_key_source
from .settle import settle_stations
from .tls import StationTls
from .troubles import tell_of_conflicts, tell_of_troubles

_log = structlog.get_logger("stationkeeper")

GC_THRESHOLDS: Final = (50_000, 50, 100)
"""Allocations until a collection of the youngest, and how many of those until one of the older generations. The
defaults walk every connection's objects again and again while a fleet dials in: with these, and what lives at the
start frozen, a handshake costs 450-490 us of CPU instead of 840 (hardened trio-websocket, Basic credentials;
`make bench` measures it anew)."""

SPARE_FILES: Final = 1_000
"""For the log and its readers, the API's clients, and webhooks under way."""

HTTP_LAST_WORDS: Final = 1.0
"""Seconds for requests that are in flight when everything else has ended."""


@frozen(kw_only=True)
class Options:
    """What is asked of one start, and stands in no configuration."""

    open: bool = False
    """Let any station id in without credentials."""
    hold: bool = False
    """Send no webhooks."""
    adopt: bool = False
    """Speak for a log that came without its secrets."""
    accept_clock: bool = False
    """Start though the wall clock stands behind the log."""


class Daemon:
    """One life of the daemon."""

    def __init__(self, config: Config, options: Options) -> None:
        """Check all that can be checked before anything is opened.

        Raises:
            WrongSetting: a setting cannot be used.
        """
        self._config = config
        self._options = options
        self._policy = policy_of(config.webhooks)
        self._tokens = Tokens(config.http.token_file if config.http.token_file.exists() else None)
        check_exposure(config.http.listen, self._tokens)
        stations = config.stations
        self._secrets_key = find_key_source(config.log.secrets_key_file)
        self._tls = _tls(config)
        self._standing = read_standing(config.webhook, self._policy)
        self._rules = _rules(config)
        self._admission = RegistryAdmission(
            open=options.open, rules=self._rules, patience=min(PATIENCE, stations.handshake_timeout / 2)
        )
        self._gate = Gate(handshake_rate=stations.handshake_rate or None)
        self._doors = open_doors(
            stations,
            admit=self._admission,
            on_message=Responder(now=SystemClock().wall).respond,
            tls=self._tls,
            gate=self._gate,
        )
        self._engine: Engine | None = None
        self._told_to_stop = trio.Event()
        self._hurried = False
        self._starting = trio.CancelScope()

    async def run(self) -> None:
        """Serve until a signal says to stop; then stop in order.

        Raises:
            LogError: the log cannot be used.
            NewerSchema: a newer release wrote it.
            ClockBehind: the wall clock stands behind it.
            WrongSetting: an address cannot be listened on.
        """
        gc.set_threshold(*GC_THRESHOLDS)
        stations = self._config.stations
        allow_files(stations.max_connections + stations.max_handshakes + SPARE_FILES)
        front = Front()
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                with self._starting:
                    server = await nursery.start(_serve_apart, front, str(self._config.http.listen))
                    await self._serve_log(front, server)
                    front.app = None
                    server.stop(HTTP_LAST_WORDS)
                    await server.ended.wait()
                nursery.cancel_scope.cancel()

    async def _serve_log(self, front: Front, server: HttpServer) -> None:
        config, options = self._config, self._options
        async with open_engine(
            log_path(config.log.url),
            transports=[*self._doors, webhook_sender(config.webhooks)],
            projections=[presence, registry, webhooks, outbox, feed, settling, conflicts, refusals, deliveries],
            gateway=config.gateway.name,
            settings=config.engine_settings(),
            secrets_key=self._secrets_key,
            mute=True,
            adopt=options.adopt,
            accept_clock=options.accept_clock,
        ) as engine:
            self._engine = engine
            registrar = Registrar(engine, policy=self._policy, rules=self._rules)
            # What stands by now stands for long: collections need not walk it. This one takes a tenth of a second for
            # 15 000 stations, so it comes before the first of them is let in.
            gc.collect()
            gc.freeze()
            # They come back now, maybe from the address of a crowd of strangers, whom nothing else tells from them.
            for id, station in engine.state(presence).items():
                if station.state != "off":
                    self._gate.remember(id)
            self._admission.attach(engine, registrar.credentials)
            await registrar.sweep(engine.secrets.ids())
            await bring_into_line(engine, registrar, self._standing)
            front.app = create_app(engine, registrar, tokens=self._tokens)
            # Not before: what is owed would go where the configuration said before it was changed.
            _unmute(engine, hold=options.hold)
            self._announce(engine, server)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(settle_stations, engine)
                nursery.start_soon(retire_secrets, engine, registrar)
                nursery.start_soon(tell_of_troubles, engine)
                nursery.start_soon(tell_of_conflicts, engine)
                watch = partial(drop_the_revoked, open=options.open, rules=self._rules, enrolment=registrar)
                nursery.start_soon(watch, engine)
                await self._told_to_stop.wait()
                nursery.cancel_scope.cancel()
            closed = self._announce_stop(engine)
        if not self._hurried:
            _log.info("stopped", closed=closed)

    async def _obey(self, signals: AsyncIterable[int]) -> None:
        """Do what signals say: the first stop is in order, the second cuts it short."""
        async for number in signals:
            if number == signal.SIGHUP:
                self._reload()
            elif self._engine is None:
                self._starting.cancel()
            elif not self._told_to_stop.is_set():
                self._told_to_stop.set()
            else:
                self._hurried = True
                _log.warning("stopping at once", hint="nothing acknowledged is lost; the next start tells of this end")
                self._engine.hurry()

    def _reload(self) -> None:
        """Read certificates and tokens again. Nobody is dropped, and what cannot be read stays as it was."""
        if not self._tokens.checked and self._config.http.token_file.exists():
            _log.warning("there is a token file now; restart to have tokens asked for")
        reloaded: list[str] = []
        for name, what in (("tokens", self._tokens if self._tokens.checked else None), ("certificate", self._tls)):
            try:
                if what is not None:
                    what.reload()
                    reloaded.append(name)
            except WrongSetting as error:
                _log.error("not reloaded", what=name, reason=str(error))
        if reloaded:
            _log.info("reloaded", what=reloaded)

    def _announce(self, engine: Engine, server: HttpServer) -> None:
        """Say that we are ready, where we listen, and what an operator must know."""
        config, options = self._config, self._options
        if options.open:
            _log.warning("ANY STATION IS LET IN WITHOUT CREDENTIALS (--open)", hint="for trials only")
        if config.stations.security == "none":
            _log.warning("stations show no credentials ([stations] security = none)", hint="for closed networks only")
        plain = self._tls is None or config.stations.tls_listen is not None
        if plain and not is_loopback(config.stations.listen.host):
            _log.warning("passwords of stations come unencrypted", hint="set tls_certificate, or end TLS in front")
        if not self._tokens.checked:
            missing = str(config.http.token_file)
            _log.warning("the API asks for no token, and answers this machine alone", missing=missing)
        if options.hold:
            _log.warning("webhooks are held back (--hold)")
        elif engine.mute:
            why = "its secrets file is missing" if engine.copied else "it came out of a backup"
            lost = "; stations and webhooks then need new passwords and secrets" if engine.copied else ""
            _log.warning(f"THIS LOG IS A COPY: {why}, so no webhook is sent", hint=f"serve --adopt speaks for it{lost}")
        _log.info("ready", stations=list(engine.urls), http=server.url, log=str(engine.log_path), run=engine.run)
        systemd.notify(f"READY=1\nSTATUS=stations at {', '.join(engine.urls)}, API at {server.url}")

    def _announce_stop(self, engine: Engine) -> int:
        """Say that we stop; return how many connections are closed by that."""
        systemd.notify("STOPPING=1")
        connections = len(engine.connections)
        _log.info("stopping", connections=connections, within=self._config.gateway.shutdown_timeout)
        return connections


def _unmute(engine: Engine, *, hold: bool) -> None:
    """Let webhooks be sent, unless they are held back on purpose, or the log is a copy."""
    engine.mute = hold or engine.unadopted
    if engine.deliveries is not None:
        engine.deliveries.mute = engine.mute


async def _serve_apart(
    front: Front, listen: str, *, task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve HTTP behind a boundary: whatever goes wrong in there, the stations stay."""
    try:
        await serve_http(front, listen, task_status=task_status)
    except WrongSetting:
        raise  # before it listened: nobody is here yet
    except Exception:
        _log.exception("the API ended by a fault of ours; stations are not touched, restart when it suits")


def webhook_sender(webhooks: WebhooksSection) -> WebhookSender:
    """Return what sends webhooks, as the configuration says."""
    return WebhookSender(
        timeout=webhooks.timeout,
        connect_timeout=webhooks.connect_timeout,
        tls_timeout=webhooks.tls_timeout,
        write_timeout=webhooks.write_timeout,
        answer_timeout=webhooks.answer_timeout,
        allow_http=webhooks.allow_http,
        allow_private_networks=webhooks.allow_private_networks,
        ports=None if webhooks.ports is None else frozenset(webhooks.ports),
        proxy=webhooks.proxy,
    )


def _tls(config: Config) -> StationTls | None:
    stations = config.stations
    certificate, key = stations.tls_certificate, stations.tls_key
    if certificate is None or key is None:
        return None
    rsa, rsa_key = stations.tls_certificate_rsa, stations.tls_key_rsa
    return StationTls(
        certificate,
        key,
        rsa=None if rsa is None or rsa_key is None else (rsa, rsa_key),
        client_ca=stations.tls_client_ca,
    )


def _rules(config: Config) -> Rules:
    stations = config.stations
    return Rules(
        security=stations.security,
        organization=stations.tls_client_organization,
        certificates=stations.tls_client_ca is not None or stations.proxy_protocol,
        # With the PROXY protocol it is the proxy that says how each of them came.
        tls_in_front=stations.tls_certificate is None
        and not stations.proxy_protocol
        and (stations.public_url or "").startswith("wss://"),
    )
