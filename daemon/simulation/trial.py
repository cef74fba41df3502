"""A gateway on trial: the real daemon, a fleet that dials in, a receiver that is told, and the judge between them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from random import Random
from typing import Any
from urllib.parse import quote

import trio
from attrs import frozen

from .api import ApiFailed, Refused
from .fleet import Fleet, Member
from .gateway import Gateway, Terms
from .line import Caller
from .receiver import Receiver
from .station import Pace, wall
from .verdict import SECOND, Flags, Judge, Look

NAME = "trial"
"""Of our webhook: one of that name that an earlier trial left on the same log is removed."""
STALL = 0.5
"""Seconds by which our own loop may be late before its stations are taken to have stood still."""
PAGE = 500
"""Stations a page."""


@frozen(kw_only=True)
class Recruit:
    """A station to be: what it is called, and how it will behave."""

    id: str
    behaviour: str
    subprotocols: tuple[str, ...] = ("ocpp2.0.1", "ocpp1.6")


@frozen(kw_only=True)
class Killing:
    """What a SIGKILL of the gateway looked like from outside."""

    online_before: int
    """Stations shown online in the last look before it."""
    online_after: int
    """Of those, the ones still shown online when the gateway was ready again, though hardly any can be back by then."""
    down: float
    """Seconds from the kill until it was ready again."""


class Trial:
    """All that takes part, and what it has come to so far."""

    def __init__(
        self, gateway: Gateway, terms: Terms, recruits: Iterable[Recruit], *, seed: int, pace: Pace, failing: float
    ) -> None:
        self.gateway = gateway
        self.receiver = Receiver(failing=failing, random=Random(f"{seed}:receiver"))
        members = [_member(recruit) for recruit in recruits]
        self.fleet = Fleet(gateway.stations_url, members, seed=seed, pace=pace)
        self.judge = Judge(
            fleet=self.fleet,
            told=self.receiver.told,
            silence=terms.silence_bound,
            grace=terms.grace,
            since=wall(),
        )
        self.flags = Flags()
        """As of the newest look."""
        self.versions: dict[str, int] = {}
        """As of the newest look, by station."""
        self.online: frozenset[str] = frozenset()
        """As of the newest look."""
        self._members = members

    async def enrol(self, webhook_url: str) -> None:
        """Register the stations and the webhook over the HTTP API, whatever an earlier trial left there.

        Raises:
            ApiFailed: the API would not have it so.
        """
        for member in self._members:
            if member.behaviour != "unknown id":
                await self._register(member)
        await self.unsubscribe()
        added = await self._expect("POST", "/webhooks", {"url": webhook_url, "name": NAME})
        self.receiver.trust(added["secret"])
        # What flips from here on is told; nothing does before the fleet runs, but for what an earlier trial left held.
        shown = await self.gateway.api.pages(f"/chargestations?limit={PAGE}")
        self.judge.versions.update({station["id"]: station["version"] for station in shown})

    async def unsubscribe(self) -> None:
        """Remove our webhook, or the one that an earlier trial left: nobody listens there any more.

        Raises:
            ApiFailed: the API would not have it so.
        """
        for webhook in await self.gateway.api.pages("/webhooks"):
            if webhook["name"] == NAME:
                await self._expect("DELETE", f"/webhooks/{webhook['id']}")

    async def look(self) -> None:
        """Ask the gateway for everything, and let the judge compare. That it does not answer is held against it."""
        before = {id: receipt.version for id, receipt in self.receiver.told.latest.items()}
        begun = wall()
        try:
            stations = await self.gateway.api.pages(f"/chargestations?limit={PAGE}")
            while events := (await self.gateway.api.get(f"/events?after={self.judge.position}"))["data"]:
                self.judge.read_log(events)
        except ApiFailed as failure:
            self.judge.broken["answers"].append(str(failure))
            return
        self.judge.compare_dials(until=begun)
        self.judge.compare_messages()
        shown = {station["id"]: station for station in stations}
        self.flags = self.judge.compare_flags(Look(begun=begun, stations=shown), before)
        self.versions = {id: station["version"] for id, station in shown.items()}
        self.online = frozenset(id for id in self.fleet.stations if id in shown and shown[id]["online"])

    async def kill(self) -> Killing:
        """Kill the gateway with SIGKILL, start it again, and look at the flags at once."""
        before = self.online
        killed = wall()
        await self.gateway.kill()
        await self.gateway.start()
        ready = wall()
        self.judge.deaths.append((killed, ready))
        await self.look()
        down = (ready - killed) / SECOND
        return Killing(online_before=len(before), online_after=len(before & self.online), down=down)

    def unrest(self) -> list[str]:
        """Return what is not at rest yet: stations on their way, flags that settle, messages that are still to come."""
        found = [f"{id} is on its way" for id in self.fleet.restless()]
        found += [f"{self.flags.settling} flags are settling"] if self.flags.settling else []
        found += [f"{self.flags.held} flags are held over a restart"] if self.flags.held else []
        found += self.flags.wrong
        for id in self.fleet.stations:
            shown, told = self.versions.get(id, 0), self.judge.versions.get(id, 0)
            if shown != told:
                found.append(f"{id} is at version {shown}, and the receiver knows {told}")
        return found

    async def watch_own_stalls(self) -> None:
        """Note, until cancelled, when this very process stood still."""
        while True:
            before = trio.current_time()
            await trio.sleep(STALL / 5)
            late = trio.current_time() - before - STALL / 5
            if late > STALL:
                self.judge.stalls.append((wall() - int(late * SECOND), wall()))

    async def _register(self, member: Member) -> None:
        known = member.caller.password
        password = (
            secrets.token_urlsafe(15) if member.behaviour == "wrong password" or known is None else known.decode()
        )
        path = f"/chargestations/{quote(member.caller.station, safe='')}"
        reply = await self.gateway.api.ask("PATCH", path, {"password": password})
        if reply.status == 404:
            await self._expect("POST", "/chargestations", {"id": member.caller.station, "password": password})
        elif reply.status != 200:
            raise Refused("PATCH", path, reply)

    async def _expect(self, method: str, path: str, body: object = None) -> Any:
        reply = await self.gateway.api.ask(method, path, body)
        if not 200 <= reply.status < 300:
            raise Refused(method, path, reply)
        return reply.body


def _member(recruit: Recruit) -> Member:
    password = secrets.token_urlsafe(15).encode()
    subprotocols = () if recruit.behaviour == "no subprotocol" else recruit.subprotocols
    caller = Caller(station=recruit.id, password=password, subprotocols=subprotocols)
    return Member(caller=caller, behaviour=recruit.behaviour)
