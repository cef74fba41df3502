"""A receiver of webhooks, as a careful subscriber writes one: it trusts no signature, no order, and no single delivery.

It verifies Standard Webhooks 1.0.0 signatures, keeps the highest version per station, and writes down what it was
told and what was wrong with it. So that a sender can be tried, it also fails on purpose: it refuses, hangs, breaks off.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Any, Literal

import h11
import trio
from attrs import define, field, frozen

from ...engine.events import Micros
from .station import wall

TOLERANCE = 5 * 60
"""Seconds by which a message's timestamp may differ from our clock, as Standard Webhooks recommends."""
MAX_BODY = 64 * 1024
"""Bytes. Messages stay under 20 kB, as Standard Webhooks recommends."""
PATIENCE = 30.0
"""Seconds that a sender may leave a connection idle, or a request unfinished."""
FLIPS = ("chargestation.online", "chargestation.offline")
"""The types whose versions must rise."""

Fault = Literal["refuse", "hang", "break off"]
"""`refuse`: 503, and the message is not taken. `hang`: no answer. `break off`: taken, but no answer says so."""


class Untrusted(Exception):
    """A request is not a message that a holder of the secret signed just now."""


def verify(secret: str, headers: dict[str, str], body: bytes, *, now: float) -> str:
    """Return the id of a signed message (Standard Webhooks 1.0.0, symmetric).

    *secret* begins with `whsec_`; *headers* have names in lower case; *now* is in seconds since 1970.

    Raises:
        Untrusted: a header is missing, the timestamp is too far from *now*, or no signature fits.
    """
    try:
        id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
        age = abs(now - int(timestamp))
    except (KeyError, ValueError) as error:
        raise Untrusted(f"a header is missing or malformed: {error}") from None
    if age > TOLERANCE:
        raise Untrusted(f"the timestamp differs from our clock by {age:.0f} s")
    key = b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, sha256)
    expected = b"v1," + b64encode(digest)
    # All are compared, each in constant time: how long it takes tells nothing about which was nearly right.
    if not sum(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
        raise Untrusted("no signature fits")
    return id


@frozen(kw_only=True)
class Receipt:
    """A message that was taken."""

    id: str
    type: str
    station: str
    """Empty where the message is about no station."""
    version: int
    """Of the station's flag; 0 where there is none."""
    at: Micros
    """When it came."""
    data: dict[str, Any]
    """The Chargestation in it."""


@define(kw_only=True)
class Told:
    """What the receiver was told, and what was wrong with it."""

    receipts: list[Receipt] = field(factory=list[Receipt])
    """Messages taken, each once, in the order in which they came."""
    latest: dict[str, Receipt] = field(factory=dict[str, Receipt])
    """Per station, the flip of the highest version."""
    trouble: Counter[str] = field(factory=Counter[str])
    """`unsigned`, `malformed`, `duplicate`, `changed` (same id, other body), `gap` (a version was skipped),
    `disorder` (a version came after a higher one). Only duplicates may happen; and gaps, after a lane overran."""
    faults: Counter[str] = field(factory=Counter[str])
    """How often it failed on purpose."""
    bodies: dict[str, bytes] = field(factory=dict[str, bytes], repr=False)
    """Digests of the bodies, by message id."""

    def take(self, id: str, body: bytes, at: Micros) -> None:
        """Note a signed message."""
        digest = sha256(body).digest()
        if id in self.bodies:
            self.trouble["duplicate" if self.bodies[id] == digest else "changed"] += 1
            return
        try:
            receipt = _read(id, body, at)
        except (ValueError, KeyError, TypeError):
            self.trouble["malformed"] += 1
            return
        self.bodies[id] = digest
        self.receipts.append(receipt)
        if receipt.type in FLIPS:
            self._rank(receipt)

    def _rank(self, receipt: Receipt) -> None:
        before = self.latest.get(receipt.station)
        if before is not None and receipt.version <= before.version:
            self.trouble["disorder"] += 1
            return
        if before is not None and receipt.version > before.version + 1:
            self.trouble["gap"] += 1
        self.latest[receipt.station] = receipt


class Receiver:
    """A receiver of webhooks that listens on loopback."""

    def __init__(
        self,
        *,
        failing: float = 0.0,
        faults: tuple[Fault, ...] = ("refuse", "hang", "break off"),
        random: Random | None = None,
        now: Callable[[], Micros] = wall,
    ) -> None:
        self.told = Told()
        self.failing = failing
        """The share of requests that it fails to answer as it should."""
        self._faults = faults
        self._random = random or Random()
        self._now = now
        self._secrets: list[str] = []

    def trust(self, secret: str) -> None:
        """Take messages that are signed with this secret from now on."""
        self._secrets.append(secret)

    async def serve(self, *, port: int = 0, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; hands back the URL once it does (see `nursery.start`)."""
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        bound = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._converse, listeners)
            task_status.started(f"http://127.0.0.1:{bound}/webhook")

    async def _converse(self, stream: trio.SocketStream) -> None:
        """Answer one sender's requests until it goes, breaks the protocol, or is kept waiting too long."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
        with suppress(trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError):
            async with stream:
                while True:
                    with trio.fail_after(PATIENCE):
                        request = await _request(connection, stream)
                    if request is None or not await self._answer(connection, stream, *request):
                        return
                    if connection.our_state is not h11.DONE:  # the sender wants no second request on this connection
                        return
                    connection.start_next_cycle()

    async def _answer(
        self, connection: h11.Connection, stream: trio.SocketStream, headers: dict[str, str], body: bytes
    ) -> bool:
        """Judge a message, or fail on purpose. False: say no more to this sender."""
        fault = self._random.choice(self._faults) if self._random.random() < self.failing else None
        if fault is not None:
            self.told.faults[fault] += 1
        if fault == "hang":
            await trio.sleep(PATIENCE)
            return False
        if fault == "refuse":
            await _respond(connection, stream, 503)
            return True
        status = self._judge(headers, body)
        if fault == "break off":
            return False
        await _respond(connection, stream, status)
        return True

    def _judge(self, headers: dict[str, str], body: bytes) -> int:
        if not self._secrets:
            return 503  # a message may overtake the answer that tells us its secret
        now = self._now()
        for secret in self._secrets:
            with suppress(Untrusted):
                self.told.take(verify(secret, headers, body, now=now / 1e6), body, now)
                return 204
        self.told.trouble["unsigned"] += 1
        return 401


def _read(id: str, body: bytes, at: Micros) -> Receipt:
    message = json.loads(body)
    data = dict(message["data"])
    kind = str(message["type"])
    of_station = kind.startswith("chargestation.")
    return Receipt(
        id=id,
        type=kind,
        station=str(data["id"]) if of_station else "",
        version=int(data["version"]) if of_station else 0,
        at=at,
        data=data,
    )


async def _request(connection: h11.Connection, stream: trio.SocketStream) -> tuple[dict[str, str], bytes] | None:
    """Read the next request: its headers and its body; None if the sender is gone or the body is too long."""
    headers: dict[str, str] = {}
    body = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(MAX_BODY)))
            case h11.Request():
                headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
            case h11.Data():
                body += event.data
                if len(body) > MAX_BODY:
                    return None
            case h11.EndOfMessage():
                return headers, bytes(body)
            case _:
                return None


async def _respond(connection: h11.Connection, stream: trio.SocketStream, status: int) -> None:
    # 204 must bear no Content-Length (RFC 9110, 8.6).
    headers = [] if status == 204 else [("Content-Length", "0")]
    response = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    await stream.send_all(response + (connection.send(h11.EndOfMessage()) or b""))
