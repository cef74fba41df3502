"""The judge: what the stations saw and the receiver was told, against what the gateway says.

It knows no projection and no fold, so that it cannot share an error with them. It holds these truths:

    flags       the flag is what the station saw, but for changes that are too young to be known
    positions   the log has no gaps
    opened      each 101 that a station saw has one `connection.opened`, made while it dialled; nothing else has
    signatures  every message is signed by a secret that was handed to us, and an id never comes with another body
    order       versions rise by one from message to message, per station
    reading     a GET after a message never shows an older version (design, truth 18)
    offline     no station is reported offline while it answers
    restart     nor for the death of the gateway itself, if it answered then and came back within the grace
    answers     the API answers whenever the daemon runs
    handshakes  who should be let in is never refused, but for 503; who should not be let in never is
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen

from ...engine.clock import parse_time, rfc3339
from ...engine.events import Micros
from .behaviours import REFUSED
from .fleet import Fleet
from .receiver import FLIPS, Receipt, Told
from .station import Sighting

SECOND: Final = 1_000_000
SETTLING: Final = 2 * SECOND
"""Micros that a change may take to be seen on both sides, on a busy machine."""
CLOCK_SKEW: Final = SECOND // 20
"""Micros by which two processes' clocks may differ: event times are counted from a run's start, not read anew. It is
less than half of what any station waits before it dials again, so that no event can be taken for the next dial's."""

TRUTHS: Final = (
    "flags",
    "positions",
    "opened",
    "signatures",
    "order",
    "reading",
    "offline",
    "restart",
    "answers",
    "handshakes",
)


@frozen(kw_only=True)
class Look:
    """What the API said of the stations, in one go."""

    begun: Micros
    stations: Mapping[str, Mapping[str, Any]]
    """Chargestations by id."""


@frozen(kw_only=True)
class Flags:
    """How the flags compare with what the stations see."""

    right: int = 0
    settling: int = 0
    """A change is too young to be judged."""
    held: int = 0
    """The station is away, and the flag is that of a run that ended: not observed, until the grace is over."""
    wrong: tuple[str, ...] = ()


@define(kw_only=True)
class Judge:
    """Compares, and remembers what was broken."""

    fleet: Fleet
    told: Told
    silence: float
    """Seconds within which the gateway must find a silent station."""
    since: Micros
    """When the trial began: what older events of the log say of our stations was another trial's."""
    versions: dict[str, int] = field(factory=dict[str, int])
    """Per station, the newest version that the receiver knows; at first that of the moment the webhook was added."""
    grace: float
    """Seconds after a death of the gateway in which its stations may come back unannounced."""
    broken: dict[str, list[str]] = field(factory=lambda: {truth: list[str]() for truth in TRUTHS})
    """Per truth, what was found against it."""
    deaths: list[tuple[Micros, Micros]] = field(factory=list[tuple[Micros, Micros]])
    """When the gateway was killed, and when it was ready again."""
    stalls: list[tuple[Micros, Micros]] = field(factory=list[tuple[Micros, Micros]])
    """When our own process stood still: its stations did not answer then, though they meant to."""
    position: int = 0
    """Of the newest event that was read."""
    opened: dict[str, list[Micros]] = field(factory=dict[str, list[Micros]])
    """Per station, when its connections were opened, as the log says."""
    kinds: dict[str, int] = field(factory=dict[str, int])
    """How many events of each kind this trial saw."""
    _suspects: dict[str, Micros] = field(factory=dict[str, Micros])
    _judged: int = 0
    _missed: list[str] = field(factory=list[str])

    @property
    def held(self) -> bool:
        """Did every truth hold so far?"""
        return not any(self.broken.values())

    def read_log(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Read on in the log: the events after `position`, as the API gives them."""
        for event in events:
            if event["position"] != self.position + 1:
                self.broken["positions"].append(f"position {event['position']} follows {self.position}")
            self.position = event["position"]
            kind, at = event["kind"], parse_time(event["at"])
            if at < self.since:
                continue
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if kind == "connection.opened" and event["subject"] in self.fleet.stations:
                self.opened.setdefault(event["subject"], []).append(at)

    def compare_dials(self, *, until: Micros) -> None:
        """Hold every dial that was answered before *until* against the log, which was read after it."""
        self.broken["opened"].clear()
        self.broken["handshakes"].clear()
        for id, station in self.fleet.stations.items():
            dials = [s for s in station.sightings if s.answered_at is not None and s.answered_at < until]
            self.broken["opened"] += unmatched(id, dials, self.opened.get(id, ()))
            expected = REFUSED.get(self.fleet.behaviours[id])
            self.broken["handshakes"] += [
                f"{id} was answered {dial.status}{' and let in' if dial.admitted else ''}"
                for dial in dials
                if misjudged(dial, expected)
            ]

    def compare_messages(self) -> None:
        """Hold the messages that came since the last time against what the stations saw."""
        receipts = self.told.receipts[self._judged :]
        self._judged += len(receipts)
        for receipt in receipts:
            if receipt.type == "chargestation.offline" and receipt.station in self.fleet.stations:
                self._compare_offline(receipt)
            if receipt.type in FLIPS:
                self._compare_version(receipt)
        # Whether a station came back in time shows only later, so these are judged again and again.
        self.broken["restart"] = [line for death in self.deaths for line in self._blamed(*death)]
        trouble = self.told.trouble
        self.broken["signatures"] = [
            f"{trouble[what]} {what}" for what in ("unsigned", "malformed", "changed") if trouble[what]
        ]
        disorder = [f"{trouble[what]} times a {what}" for what in ("gap", "disorder") if trouble[what]]
        self.broken["order"] = disorder + self._missed

    def compare_flags(self, look: Look, before: Mapping[str, int]) -> Flags:
        """Hold the flags against what the stations see. *before*: the versions received before the look began.

        A flag is wrong once two looks in a row find it so, with nothing happening at the station between them.
        """
        right = settling = held = 0
        wrong: list[str] = []
        for id, station in self.fleet.stations.items():
            said = look.stations.get(id)
            if said is None:
                if self.fleet.behaviours[id] != "unknown id":
                    wrong.append(f"{id} is not known to the gateway")
                continue
            if said["version"] < before.get(id, 0):
                self.broken["reading"].append(f"{id}: GET shows {said['version']} after message {before[id]}")
            changed = last_change(station.sightings, silence=self.silence, now=look.begun)
            if said["online"] == station.connected:
                right += 1
                self._suspects.pop(id, None)
            elif changed > look.begun - SETTLING or self._stood_still(look.begun - 10 * SECOND, look.begun):
                settling += 1
            elif said["online"] and not said["observed"]:
                held += 1
            elif self._suspects.get(id) == changed:
                wrong.append(f"{id} is shown {'on' if said['online'] else 'off'}line, and sees the opposite")
            else:
                self._suspects[id] = changed
                settling += 1
        self.broken["flags"] += [line for line in wrong if line not in self.broken["flags"]]
        return Flags(right=right, settling=settling, held=held, wrong=tuple(wrong))

    def _compare_version(self, receipt: Receipt) -> None:
        known = self.versions.setdefault(receipt.station, 0)
        if receipt.version > known + 1:
            self._missed.append(f"{receipt.station}: version {receipt.version} came after {known}")
        self.versions[receipt.station] = max(known, receipt.version)

    def _compare_offline(self, receipt: Receipt) -> None:
        detected = detected_at(receipt)
        if detected is None:
            self.broken["offline"].append(f"{receipt.id} does not say when {receipt.station} went offline")
            return
        sightings = self.fleet.stations[receipt.station].sightings
        if answered_at(sightings, detected) and not self._stood_still(detected - 10 * SECOND, detected):
            disconnect = receipt.data["disconnect"]
            self.broken["offline"].append(f"{receipt.station} was answering when it was reported offline: {disconnect}")

    def _blamed(self, killed: Micros, ready: Micros) -> Iterator[str]:
        """Yield the stations that were reported offline for a death of the gateway, and ought not to have been."""
        for receipt in self.told.receipts:
            detected = detected_at(receipt) if receipt.type == "chargestation.offline" else None
            if detected is None or receipt.station not in self.fleet.stations:
                continue
            back = returned(self.fleet.stations[receipt.station].sightings, killed)
            if back is not None and back < ready + self.grace * SECOND and killed < detected < back:
                yield f"{receipt.station} was reported offline at {rfc3339(detected)}, though only the gateway was gone"

    def _stood_still(self, since: Micros, until: Micros) -> bool:
        return any(begin < until and end > since for begin, end in self.stalls)


def last_change(sightings: Sequence[Sighting], *, silence: float, now: Micros) -> Micros:
    """Return the time by which the gateway must know of the newest thing that a station saw; 0 if it saw nothing.

    It lies ahead while a station has been silent for less than *silence* seconds, and is *now* while it dials.
    """
    moments: list[Micros] = [0]
    for sighting in sightings[-3:]:
        moments += [sighting.dialled_at, sighting.answered_at or now]
        if sighting.deaf_at is not None:
            found = sighting.deaf_at + int(silence * SECOND)
            moments.append(found if sighting.ended_at is None else min(found, sighting.ended_at))
        elif sighting.ended_at is not None:
            moments.append(sighting.ended_at)
    return max(moments)


def detected_at(receipt: Receipt) -> Micros | None:
    """Return when the gateway knew that the station of a message was offline; none if the message does not say."""
    disconnect: dict[str, Any] = receipt.data.get("disconnect") or {}
    return parse_time(disconnect["detectedAt"]) if disconnect.get("detectedAt") else None


def returned(sightings: Iterable[Sighting], killed: Micros) -> Micros | None:
    """Return when a station that answered while the gateway was killed was let in again; none if it did not answer."""
    answering = False
    for sighting in sightings:
        if not sighting.admitted or sighting.answered_at is None:
            continue
        if answering and sighting.answered_at > killed:
            return sighting.answered_at
        silent = sighting.silent_at
        answering = sighting.answered_at < killed and (silent is None or silent >= killed)
    return None


def answered_at(sightings: Iterable[Sighting], moment: Micros) -> bool:
    """Was the station answering on one connection from well before a moment until well after it?"""
    return any(
        sighting.admitted
        and (sighting.answered_at or moment) < moment - CLOCK_SKEW
        and (sighting.silent_at is None or sighting.silent_at > moment + CLOCK_SKEW)
        for sighting in sightings
    )


def unmatched(station: str, dials: Sequence[Sighting], opened: Sequence[Micros]) -> list[str]:
    """Return what is wrong between a station's dials, in order, and the times at which the log opened connections.

    Each 101 has one `connection.opened`, made while the station dialled. One without a 101 is right where the gateway
    died, or the station gave up, between the two; or where the gateway ended it again before it could be told, since
    it stops or knows a newer one: the answer is then a 503. What was opened after the last of the dials is left aside.
    """
    found: list[str] = []
    begins = [dial.dialled_at - CLOCK_SKEW for dial in dials]
    mine: list[list[Micros]] = [[] for _ in dials]
    for at in sorted(opened):
        # It belongs to the newest dial that had begun.
        turn = bisect_right(begins, at) - 1
        ended = dials[turn].answered_at if turn >= 0 else None
        if ended is not None and at <= ended + CLOCK_SKEW:
            mine[turn].append(at)
        elif turn < len(dials) - 1:
            found.append(f"{station}: opened at {rfc3339(at)}, while it did not dial")
    for dial, times in zip(dials, mine, strict=True):
        if dial.admitted and len(times) != 1:
            found.append(f"{station}: the 101 of {rfc3339(dial.dialled_at)} has {len(times)} connection.opened")
        if not dial.admitted and len(times) > (dial.status in (None, 503)):
            moments = ", ".join(map(rfc3339, times))
            found.append(f"{station}: a connection was opened at {moments}, but its dial ended so: {dial}")
    return found


def misjudged(dial: Sighting, expected: int | None) -> bool:
    """Was a dial answered as it must not be? *expected*: the answer to one who must not be let in, else None."""
    if dial.status is None or dial.status == 503:
        return False
    if expected is None:
        return not dial.admitted
    return dial.admitted or dial.status != expected
