"""Receivers and the real sender, over real sockets: what an engine sends, the receiver library believes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import standardwebhooks
import trio
from receiving import OK, Request, answering, receiving

from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, UrlPolicy
from stationkeeper.daemon.simulation.gateway import free_port
from stationkeeper.daemon.simulation.waiting import until
from stationkeeper.engine import Engine, open_engine
from stationkeeper.engine.ledger.outside import read_note
from stationkeeper.projections import outbox, presence, registry, webhooks
from stationkeeper.transports import MemoryStations, WebhookSender
from stationkeeper.transports.receiver import BadMessage, MemoryVersions, Order, Verifier, Witness

PAGE = Path(__file__).parents[2] / "docs/how-to/receive-webhooks.md"
EXAMPLES = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FRAMEWORKS = [code for code in EXAMPLES.findall(PAGE.read_text()) if "FastAPI(" in code or "Flask(" in code]


class Gateway:
    """An engine whose stations are in memory and whose webhooks go over sockets."""

    def __init__(self, engine: Engine, stations: MemoryStations) -> None:
        self.engine = engine
        self.stations = stations

    async def subscribe(self, url: str, **more: object) -> tuple[str, ...]:
        """Return what its receiver has to know: the secret, or the public key, or both."""
        registrar = Registrar(self.engine, policy=UrlPolicy(allow_http=True, allow_private_networks=True))
        made = await registrar.subscribe(NewWebhook(url=url, **more), actor="test")  # type: ignore[arg-type]
        return tuple(key for key in (made.secret, registrar.public_key(made.id)) if key)


@asynccontextmanager
async def gateway(folder: Path) -> AsyncGenerator[Gateway]:
    stations = MemoryStations()
    sender = WebhookSender(allow_http=True, allow_private_networks=True)
    log = folder / "fleet.db"
    async with open_engine(
        log, transports=[stations, sender], projections=[presence, registry, webhooks, outbox]
    ) as engine:
        yield Gateway(engine, stations)


def test_there_is_an_example_for_either_framework() -> None:
    assert len(FRAMEWORKS) == 2


@pytest.mark.parametrize("code", FRAMEWORKS, ids=["FastAPI", "Flask"])
async def test_an_example_hears_of_a_real_engines_stations(code: str, tmp_path: Path) -> None:
    port = free_port()
    with trio.fail_after(60):
        async with gateway(tmp_path) as sending:
            (secret,) = await sending.subscribe(f"http://127.0.0.1:{port}/")
            with (tmp_path / "said").open("wb") as said:
                receiver = await trio.lowlevel.open_process(
                    [sys.executable, "-u", "-c", code.replace("8000", str(port))],
                    cwd=tmp_path,
                    env={**os.environ, "WEBHOOK_SECRET": secret},
                    stdout=said,
                    stderr=said,
                )
            try:
                await until(lambda: f":{port}" in (tmp_path / "said").read_text(), within=30, what="it listens")
                station = await sending.stations.connect("Ladesäule 7")
                await station.close()
                news = ["Ladesäule 7 online", "Ladesäule 7 offline"]
                await until(
                    lambda: [line for line in (tmp_path / "said").read_text().splitlines() if line in news] == news,
                    within=30,
                    what="it says what happened",
                )
                assert "401" not in (tmp_path / "said").read_text()
            finally:
                receiver.kill()
                with trio.CancelScope(shield=True):
                    await receiver.wait()


@pytest.mark.parametrize("format", ["standard", "cloudevents"])
async def test_what_the_sender_sends_is_believed_in_both_schemes_and_formats(format: str, tmp_path: Path) -> None:
    got: list[Request] = []
    with trio.fail_after(60):
        async with receiving(answering(OK, got)) as receiver, gateway(tmp_path) as sending:
            secret, public = await sending.subscribe(receiver.url, format=format, signatures=("v1", "v1a"))
            station = await sending.stations.connect("Ladesäule 7")
            await station.close()
            await until(lambda: len(got) == 2, within=30, what="both messages are there")

    order = Order(MemoryVersions())
    for keys in ((secret,), (public,), (secret, public)):
        told = [Verifier(*keys).read(request.headers, request.body) for request in got]
        assert [(one.station, one.version, one.online) for one in told] == [
            ("Ladesäule 7", 1, True),
            ("Ladesäule 7", 2, False),
        ]
    assert [order.keep(one) for one in [*told, *told]] == [True, True, False, False]
    for request in got:
        standardwebhooks.Webhook(secret).verify(request.body, request.headers, json_parse=False)
        with pytest.raises(BadMessage):
            Verifier(secret, public).verify(request.headers, request.body[:-1] + b" ")


async def test_the_checkpoint_that_comes_with_an_attempt_makes_a_witness(tmp_path: Path) -> None:
    got: list[Request] = []
    with trio.fail_after(60):
        async with receiving(answering(OK, got)) as receiver, gateway(tmp_path) as sending:
            await sending.subscribe(receiver.url)
            await until(lambda: read_note(tmp_path / "fleet.db") is not None, within=30, what="there is a checkpoint")
            await (await sending.stations.connect("CP-7")).close()
            await until(lambda: len(got) == 2, within=30, what="both messages are there")
    witness = Witness((tmp_path / "fleet.db.vkey").read_text().strip(), tmp_path / "newest.checkpoint")

    seen = [witness.see(request.headers) for request in got]
    assert all(seen)
    assert (tmp_path / "newest.checkpoint").exists()
