"""Why one station is online or offline, or does not connect: explained from the log alone, down to each attempt at each
message.

It reads only what concerns the station (`life_of`), and keeps no more of it than it is asked to show.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import Factory, define, frozen

from ..engine.clock import rfc3339
from ..engine.codec import decode
from ..engine.entry import Recorded
from ..engine.events import DeliveryParked, DeliverySkipped, DeliverySucceeded, Micros
from ..engine.fold import Fold
from ..engine.log import Log
from ..engine.log.stations import life_of
from ..engine.sending import MessageState, Owed
from ..projections import conflicts, outbox, presence, registry, webhooks
from ..projections.chargestation import chargestation
from ..projections.conflicts import Conflict
from ..projections.presence import Change
from ..projections.refusals import Row
from ..projections.webhooks import Webhook
from . import turned_away
from .registry.errors import NotFound
from .registry.nearest import meant
from .words import because, clock, fight, told

_NOTES: Final = {
    ("held", "on"): "back in time, so nobody is told",
    ("on", "on"): "takes over from its older connection",
    ("on", "held"): "the flag stays for now",
}
"""What a change of state means that is no flip: the states before and after it."""
_SKIPPED: Final = "newer states of the station took its place"
"""Where nobody asked for it."""
MOMENTS: Final = 20
"""Events shown unless more are asked for."""


@frozen(kw_only=True)
class Attempt:
    """One try to deliver a message, and what came of it."""

    round: int
    number: int
    at: Micros
    status: int | None
    """The HTTP status of the answer; none if there was none."""
    result: str
    """`accepted`, or what went wrong."""
    next: Micros | None = None
    """When the next one was due; none after the last."""


@define(kw_only=True)
class Message:
    """A message that an event made, and what became of it."""

    id: str
    type: str
    webhook: str
    name: str
    """The webhook's name, or its URL's host; empty once it is gone."""
    state: MessageState
    note: str = ""
    """Why it still waits, or was skipped; empty if there is nothing to say."""
    attempts: list[Attempt] = Factory(list[Attempt])


@frozen(kw_only=True)
class Moment:
    """An event that had to do with the station."""

    position: int
    at: Micros
    kind: str
    words: str
    flag: str
    """What it did to the flag: `online`, `offline`, or empty."""
    version: int
    """Of the station, after it."""
    note: str
    """What it meant where the flag stayed; often empty."""
    odd: bool
    """Whether it made no sense where it stands, and so changed nothing by itself."""
    messages: list[Message] = Factory(list[Message])


@frozen(kw_only=True)
class Why:
    """The explanation."""

    station: Mapping[str, Any] | None
    """The Chargestation object; none for an id that was only ever turned away."""
    position: int
    """As of which position of the log."""
    answer: str
    """In a sentence or two."""
    moments: list[Moment]
    """Oldest first, the newest ones of all."""
    earlier: int
    """How many moments there were before these."""
    refused: str
    """How often somebody of its id was turned away of late, and why the last time; empty if nobody was."""
    refusals: list[Row]
    """The same by reason, the newest first."""
    conflict: Conflict | None
    """Two devices that use its identity, or one that opens a second connection while it has one."""


def explain(log: Log, station: str, *, until: int | None = None, most: int = MOMENTS, now: Micros | None = None) -> Why:
    """Explain a station's state as of a position, or of the end of the log, by its newest *most* moments.

    Args:
        now: by which a conflict may be over, and before which "the last days" lie; the time of the newest event, if it
            is not given.

    Raises:
        NotFound: the log knows no such station, and nobody of its id was turned away of late.
    """
    until = log.position if until is None else until
    story = _Story(station, most)
    for recorded in life_of(log, station, until=until):
        story.follow(recorded)
    shown = chargestation(story.fold.state(presence), story.fold.state(registry), station)
    if now is None:
        newest = next(iter(log.read(until - 1, until=until)), None) if until else None
        now = 0 if newest is None else newest.at
    refused = turned_away.of_station(log, station, until, now)
    if shown is None and not refused:
        raise NotFound(_nobody(log, station, until))
    conflict = story.fold.state(conflicts).of(station, now)
    for moment in story.moments:
        for message in moment.messages:
            _add_failures(message, log)
            if message.state == "pending":
                message.note = _waits(story.fold.state(webhooks).get(message.webhook))
    return Why(
        station=shown,
        position=until,
        answer=_answer(story.fold, station, conflict),
        moments=list(story.moments),
        earlier=story.count - len(story.moments),
        refused=turned_away.summary(refused),
        refusals=refused,
        conflict=conflict,
    )


def as_json(why: Why) -> dict[str, Any]:
    """Write an explanation as JSON would have it."""
    return {
        "position": why.position,
        "answer": why.answer,
        "refused": why.refused,
        "refusals": [turned_away.as_json(row) for row in why.refusals],
        "conflict": conflict_as_json(why.conflict),
        "chargestation": why.station,
        "earlier": why.earlier,
        "moments": [
            {
                "position": moment.position,
                "at": rfc3339(moment.at),
                "kind": moment.kind,
                "words": moment.words,
                "flag": moment.flag or None,
                "version": moment.version,
                "note": moment.note,
                "odd": moment.odd,
                "messages": [_message_as_json(message) for message in moment.messages],
            }
            for moment in why.moments
        ],
    }


def conflict_as_json(conflict: Conflict | None) -> dict[str, object] | None:
    """Write a conflict out, or that there is none. It is never part of a webhook."""
    if conflict is None:
        return None
    return {"since": rfc3339(conflict.since), "last": rfc3339(conflict.last), "takeovers": conflict.takeovers}


def _message_as_json(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": message.type,
        "webhook": message.webhook,
        "name": message.name,
        "state": message.state,
        "note": message.note,
        "attempts": [
            {
                "round": attempt.round,
                "number": attempt.number,
                "at": rfc3339(attempt.at),
                "status": attempt.status,
                "result": attempt.result,
                "next": None if attempt.next is None else rfc3339(attempt.next),
            }
            for attempt in message.attempts
        ],
    }


def _nobody(log: Log, station: str, until: int) -> str:
    """Say of an id that the log knows nothing of it, and which registered ids are like it."""
    fold = Fold([registry])
    for recorded in log.read(until=until, kinds=registry.kinds):
        fold.advance(recorded)
    registered = fold.state(registry)
    like = meant(station, registered)
    return (
        f"there is no station {station!r} as of position {until}, and nobody came under that id in the last seven "
        "days. "
        + (f"Registered is {' or '.join(like)}, which is like it. " if like else "")
        + "Who was turned away is listed by `stationkeeper why LOG`, without an id, and by GET /refusals."
    )


class _Story:
    """The newest moments of a station, as its events are folded."""

    def __init__(self, station: str, most: int) -> None:
        self.station = station
        self.fold = Fold([presence, registry, webhooks, outbox, conflicts])
        self.moments: deque[Moment] = deque()
        self.count = 0
        self._most = most
        self._messages: dict[str, Message] = {}
        self._odd = 0

    def follow(self, recorded: Recorded) -> None:
        """Fold an event, and keep it if it had to do with the station."""
        below = self.fold.advance(recorded)
        messages = self._derived(below.changes(outbox))
        self._settle(recorded)
        fleet = self.fold.state(presence)
        odd, self._odd = fleet.odd.total() > self._odd, fleet.odd.total()
        changed = [change for change in below.changes(presence) if change.station == self.station]
        if not changed and not messages and (recorded.subject != self.station or recorded.kind.startswith("delivery.")):
            return
        flipped = any(change.flipped for change in changed)
        self._keep(
            Moment(
                position=recorded.position,
                at=recorded.at,
                kind=recorded.kind,
                words=told(recorded),
                flag=("online" if fleet.known(self.station).online else "offline") if flipped else "",
                version=fleet.known(self.station).version,
                note=_note(recorded, changed),
                odd=odd and not changed,
                messages=messages,
            )
        )

    def _keep(self, moment: Moment) -> None:
        self.count += 1
        self.moments.append(moment)
        self._messages.update((message.id, message) for message in moment.messages)
        if len(self.moments) > self._most:
            for message in self.moments.popleft().messages:
                del self._messages[message.id]

    def _derived(self, changes: Iterable[Owed]) -> list[Message]:
        """Return the messages that an event made; let older ones be in their new state."""
        made: list[Message] = []
        for owed in changes:
            if owed.subject != self.station:
                continue
            known = self._messages.get(owed.id)
            if known is not None:
                known.state = owed.state
                known.note = _SKIPPED if owed.state == "skipped" else ""
            elif owed.position == self.fold.position:
                webhook = self.fold.state(webhooks).get(owed.webhook)
                # Not the URL: it may hold a secret.
                name = "" if webhook is None else webhook.record.name or urlsplit(webhook.record.url).hostname or ""
                made.append(Message(id=owed.id, type=owed.type, webhook=owed.webhook, name=name, state=owed.state))
        return made

    def _settle(self, recorded: Recorded) -> None:
        """Note the attempt that an outcome speaks of; those that failed before it are in the log's telemetry."""
        if not recorded.kind.startswith("delivery."):
            return
        event = decode(recorded)
        if isinstance(event, DeliverySkipped):
            self._tell_skipped(event)
            return
        if isinstance(event, DeliverySucceeded):
            result = f"accepted after {round(event.latency * 1000)} ms"
        elif isinstance(event, DeliveryParked):
            result = f"given up: {event.reason}"
        else:
            return
        message = self._messages.get(event.message)
        if message is not None:
            attempt = Attempt(
                round=event.round, number=event.attempts, at=event.attempted_at, status=event.status, result=result
            )
            message.attempts.append(attempt)

    def _tell_skipped(self, event: DeliverySkipped) -> None:
        message = self._messages.get(event.message)
        if message is not None and message.state == "skipped":
            message.note = "somebody asked for that"


def _waits(webhook: Webhook | None) -> str:
    """Say why a message may still wait."""
    if webhook is None:
        return ""
    if webhook.state == "paused":
        return "its webhook is paused by hand"
    if webhook.disabled is not None:
        return f"its webhook is disabled: {webhook.disabled.reason}"
    if webhook.trouble is None:
        return ""
    how = "is suspended" if webhook.health == "suspended" else "fails"
    return f"its webhook {how} since {clock(webhook.trouble.since)}: {webhook.trouble.reason}"


def _note(recorded: Recorded, changed: Sequence[Change]) -> str:
    # What befell our gateway says already that the flag stays.
    if not changed or not recorded.kind.startswith("connection."):
        return ""
    return _NOTES.get((changed[0].before.state, changed[0].now.state), "")


def _add_failures(message: Message, log: Log) -> None:
    """Add the attempts that failed, as far as the log's telemetry still knows them."""
    known = {(attempt.round, attempt.number) for attempt in message.attempts}
    for failed in log.attempts_at(message.id):
        if (failed.round, failed.number) not in known:
            attempt = Attempt(
                round=failed.round,
                number=failed.number,
                at=failed.at,
                status=failed.status,
                result=failed.error or f"HTTP {failed.status}",
                next=failed.due,
            )
            message.attempts.append(attempt)
    message.attempts.sort(key=lambda attempt: (attempt.round, attempt.number))


def _answer(fold: Fold, id: str, conflict: Conflict | None) -> str:
    """Say in a sentence or two what the station's state is, and what made it so."""
    fleet = fold.state(presence)
    station = fleet.known(id)
    ended = station.disconnect
    if station.connection is not None:
        answer = f"{id} is online: it has been connected since {clock(station.connection.opened_at)}."
    elif station.state == "held" and ended is not None:
        answer = (
            f"{id} counts as online, but is not observed: {because(ended.cause)} at {clock(ended.detected_at)}. "
            "It keeps its last state until it is back, or the time to come back is over."
        )
    elif ended is not None:
        answer = (
            f"{id} is offline since {clock(ended.detected_at)}, because {because(ended.cause)}; "
            f"its last sign of life was at {clock(ended.last_alive_at)}."
        )
    elif id in fold.state(registry):
        answer = f"{id} is offline: it is registered, and was never let in."
    else:
        return f"{id} is not registered, and was never let in."
    if conflict is not None:
        answer += f" {fight(conflict)}"
    if not fleet.watching:
        answer += " No gateway watches: this is the last state that was reported."
    return answer
