"""The transports that are tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from attrs import frozen

from stationkeeper.engine.stations import Connection, StationTransport
from stationkeeper.transports import DenseStations, Knock, Refusal, WebSocketStations, Welcome

MESSAGE = 16 * 1024 * 1024
"""Bytes that a message may have here: the suite's largest. What is longer than allowed is tried by our own tests."""


async def echo(connection: Connection, text: str) -> None:
    await connection.send(text)


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
    """Whether it negotiates permessage-deflate."""


def _transport(name: str, made_by: Any) -> Transport:
    make = partial(made_by, "127.0.0.1:0", admit=Visitors(), on_message=echo, max_message=MESSAGE)
    return Transport(name, make, "compression" in inspect.signature(made_by).parameters)


TRANSPORTS = (_transport("trio-websocket", WebSocketStations), _transport("dense", DenseStations))
