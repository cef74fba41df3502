"""The transports that are tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen

from stationkeeper.engine.stations import Connection, StationTransport
from stationkeeper.transports import AnyStation, DenseStations, WebSocketStations

MESSAGE = 16 * 1024 * 1024
"""Bytes that a message may have here: the suite's largest. What is longer than allowed is tried by our own tests."""


async def echo(connection: Connection, text: str) -> None:
    await connection.send(text)


@frozen
class Transport:
    """One of our transports."""

    name: str
    make: Callable[[], StationTransport]
    deflates: bool
    """Whether it negotiates permessage-deflate."""


def _transport(name: str, made_by: Any) -> Transport:
    make = partial(made_by, "127.0.0.1:0", admit=AnyStation(), on_message=echo, max_message=MESSAGE)
    return Transport(name, make, "compression" in inspect.signature(made_by).parameters)


TRANSPORTS = (_transport("trio-websocket", WebSocketStations), _transport("dense", DenseStations))
