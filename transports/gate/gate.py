"""The gate: the one object that a station transport asks whether to accept, to try, and to let in.

    may_accept   is our loop responsive?                    else wait: the kernel's queue holds them
    may_try      does this address misbehave?               else 429, before anybody is asked about a station
    may_enter    does this station come too often?          else 429, after its credentials were right
                 do all together come too fast?             else 503, and a turn of its own (`Turns`)

No sockets, no clock, no tasks: time is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Final

from attrs import frozen

from ...engine.watch.refusals import BY_ADDRESS
from ..handshake.answers import Refused, retry_after
from .addresses import block_of, is_shared
from .known import Known
from .pressure import Ease, Pressure
from .rates import Rate, Rates
from .turns import Turns

_REMEMBERED: Final = 50_000
"""Stations, or addresses, whose buckets are kept while they are not full; some 120 bytes each."""
_NUMBERS: Final = 100_000
"""Stations whose turns are kept; some 200 bytes each."""
_OURS: Final = 500
"""From this status on it was no fault of the peer's."""


_STATION: Final = Rate(10, 1.0)
_ADDRESS: Final = Rate(500, 50.0)


@frozen(kw_only=True)
class Limits:
    """How often one station and one address may try."""

    station: Rate = _STATION
    """Admissions of one station, which has shown who it is: 10, and then one a second, as AWS IoT allows."""
    address: Rate = _ADDRESS
    """Refused handshakes of one address: 500, and then 50 a second. Those that succeed do not count: a whole fleet may
    be behind one."""


class Gate:
    """Decides who may come in how fast.

    Args:
        handshake_rate: stations let in a second, all together; None: as many as we can bear.
        chance: a random number from 0 to 1, evenly spread: spreads those who are told to come back.
    """

    def __init__(
        self,
        *,
        handshake_rate: float | None = None,
        limits: Limits | None = None,
        ease: Ease | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        limits = limits or Limits()
        self._chance = chance
        self._known = Known()
        """Stations that were let in."""
        self._pressure = Pressure(ease)
        self._addresses = Rates(limits.address, most=_REMEMBERED)
        self._stations = Rates(limits.station, most=_REMEMBERED)
        self._turns = None if handshake_rate is None else Turns(handshake_rate, most=_NUMBERS, chance=chance)

    def remember(self, station: str) -> None:
        """Take a station for one that was let in before: after a start, those that were online before it."""
        self._known.add(station)

    # --- accepting ----------------------------------------------------------------------------------------------------

    def woke(self, late: float, now: float) -> None:
        """Note that a task of the transport ran *late* seconds after it could have."""
        self._pressure.woke(late, now)

    def may_accept(self, now: float) -> float:
        """Return the seconds to wait before some peers are accepted; 0: now."""
        return self._pressure.wait(now)

    # --- one handshake ------------------------------------------------------------------------------------------------

    def may_try(self, remote: str, station: str, now: float) -> Refused | None:
        """Return why nobody is to be asked about a peer at this address that claims to be *station*; None if somebody
        is. Who was let in before is always asked about: it may have strangers for neighbours, behind a balancer."""
        if not self._addresses:
            return None
        wait = self._addresses.wait(block_of(remote), now)
        if not wait or station in self._known:
            return None
        return Refused(429, "too_often", BY_ADDRESS, retry_after(wait, chance=self._chance))

    def refused(self, remote: str, status: int, now: float) -> None:
        """Note that a peer at this address was answered with *status*."""
        if 400 <= status < _OURS and status != 429 and not is_shared(remote):
            self._addresses.spend(block_of(remote), now)

    def may_enter(self, station: str, now: float) -> Refused | None:
        """Return why a station that has shown who it is must not come in now; None if it may: then that counts."""
        wait = self._stations.wait(station, now)
        if wait:
            hint = "it connects again and again: is the id given to two devices, or does it restart?"
            return Refused(429, "too_often", hint, retry_after(wait, chance=self._chance))
        if self._turns is not None:
            wait = self._turns.take(station, now)
            if wait:
                hint = "more stations come than handshake_rate lets in; it has its turn, and should come again"
                return Refused(503, "overloaded", hint, retry_after(wait, stray=0.0))
        self._stations.spend(station, now)
        self._known.add(station)
        return None
