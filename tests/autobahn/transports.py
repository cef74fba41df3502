"""The transports that are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from attrs import frozen
from fronted import contexts, echo

from stationkeeper.engine.stations import StationTransport
from stationkeeper.transports import DenseStations, Knock, Refusal, WebSocketStations, Welcome

MESSAGE = 16 * 1024 * 1024
"""Bytes that a message may have here: the suite's largest. What is longer than allowed is tried by our own tests."""


class Visitors:
    """Admits each connection as a station of its own: one that comes so often would be told to come later."""

    def __init__(self) -> None:
        self._number = count(1)

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        return Welcome(station=f"{knock.station}-{next(self._number)}")


@frozen
class Transport:
    """One of our transports."""

    name: str
    make: Callable[[], StationTransport]
    deflates: bool
    """Whether it is tried with the cases about compression, too, which take long."""


def _transport(name: str, made_by: Any) -> Iterator[Transport]:
    make = partial(made_by, "127.0.0.1:0", admit=Visitors(), on_message=echo, max_message=MESSAGE)
    yield Transport(name, make, deflates=True)
    yield Transport(f"{name}-tls", lambda: make(tls=contexts()[0]), deflates=False)


TRANSPORTS = (*_transport("trio-websocket", WebSocketStations), *_transport("dense", DenseStations))
