"""Messages, pulled: what a webhook would be sent, for those behind firewalls, and for whoever missed some."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
import trio
from fastapi import APIRouter, Depends, Header, Query
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...projections.bodies import OFFLINE, ONLINE
from ...projections.feed import TYPES, WHOLE, Cursor, Telling, asking_for, feed, first_of
from ...projections.webhooks import Webhook
from ..http.streams import EventStream, Push, sse_event
from ..meant import meant
from ..registry.errors import Invalid
from ..registry.webhook_options import check_patterns
from . import message_shapes
from .answers import json_answer, page, problem_answer
from .events import BATCH, GATHER, LONGEST_WAIT, reached, wait_for_news
from .parameters import Limit, known_parameters
from .replays import Replays

_CURSOR: Final = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"
_A_CURSOR: Final[dict[str, JsonValue]] = {"pattern": _CURSOR}
_UPGRADE: Final = "A newer release has written this log, and derives messages otherwise: upgrade Stationkeeper."

From: TypeAlias = Annotated[
    str,
    Query(
        json_schema_extra=_A_CURSOR, description="A position, or `next` of the page before; what is after it is told."
    ),
]
Types: TypeAlias = Annotated[
    list[str] | None,
    Query(description=f"Of {', '.join(f'`{type}`' for type in TYPES)}; without it the first two."),
]
Stations: TypeAlias = Annotated[list[str] | None, Query(description="Patterns of station ids, as a shell's.")]
Sites: TypeAlias = Annotated[
    list[str] | None, Query(description="Patterns of sites; a station without one is meant by `*` alone.")
]


def pulled(engine: Engine) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["messages"], dependencies=[Depends(known_parameters)])
    messages = Messages(engine)

    @router.get("/messages", summary="Pull messages", response_model=message_shapes.PulledMessages)
    async def pull(
        request: Request,
        after: From = "0",
        wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for news, 60 at most.")] = 0.0,
        limit: Limit = 100,
        event: Types = None,
        station: Stations = None,
        site: Sites = None,
    ) -> Response:
        """The messages that a webhook with this filter would get, oldest first. No webhook is needed for that.

        Go on with `after` = `next`, or, where that is null, = `position`: then none is missed, and none comes twice.
        """
        asking, begin = _asking(event, station, site), _begin(engine, after, "after")
        if engine.state(feed).upgrade_needed:
            return problem_answer(503, _UPGRADE)
        found, looked = await messages.wait(asking, begin, limit, wait, request)
        more = str(looked) if looked < Cursor(engine.position) else None
        told = looked.position if looked.number == WHOLE else looked.position - 1
        return json_answer({**page([msgspec.Raw(_entry(telling)) for telling in found], more), "position": told})

    @router.get("/messages/stream", summary="Stream messages", response_class=Response,
                responses={200: {"content": {"text/event-stream": {}}}})  # fmt: skip
    async def stream(
        after: Annotated[
            str | None, Query(json_schema_extra=_A_CURSOR, description="As above; without it, from now on.")
        ] = None,
        event: Types = None,
        station: Stations = None,
        site: Sites = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """The same as server-sent events; the id of each is where a client that comes back goes on."""
        asking, begin = _asking(event, station, site), Cursor(engine.position)
        if last_event_id is not None:
            begin = _begin(engine, last_event_id, "Last-Event-ID")
        elif after is not None:
            begin = _begin(engine, after, "after")
        if engine.state(feed).upgrade_needed:
            return problem_answer(503, _UPGRADE)
        return EventStream(lambda push: messages.follow(asking, begin, push))

    return router


class Messages:
    """The messages of an engine, old and new."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._replays = Replays(engine)

    async def read(self, asking: Webhook, after: Cursor, limit: int) -> tuple[list[Telling], Cursor]:
        """Return the first messages after a cursor, and how far was looked."""
        held, head = self._engine.state(feed), self._engine.position
        if after < held.begin:
            return await self._replays.read(asking, after, head, limit)
        found, stopped = first_of(held.after(after), asking, after, limit)
        return found, stopped or max(after, Cursor(head))

    async def wait(
        self, asking: Webhook, after: Cursor, limit: int, seconds: float, request: Request
    ) -> tuple[list[Telling], Cursor]:
        """Return the same; where there is nothing yet, wait for it, and no longer than there is somebody to tell."""
        deadline = trio.current_time() + seconds
        found, after = await self.read(asking, after, limit)
        while not found and after == Cursor(self._engine.position) and trio.current_time() < deadline:
            if not await wait_for_news(self._engine, after.position, deadline - trio.current_time(), request):
                break
            found, after = await self.read(asking, after, limit)
        return found, after

    async def follow(self, asking: Webhook, after: Cursor, push: Push) -> None:
        """Push what there is after a cursor, and what comes."""
        while not self._engine.state(feed).upgrade_needed:
            await self._engine.beyond(after.position if after.number == WHOLE else after.position - 1)
            found, after = await self.read(asking, after, BATCH)
            for telling in found:
                await push(sse_event(_entry(telling), event=telling.type, id=str(telling.cursor)))
            if len(found) < BATCH:
                await trio.sleep(GATHER)


def _entry(telling: Telling) -> bytes:
    """Return a message of a page: its body, and before that its id and its place."""
    return b'{"id":"%b","position":%d,' % (telling.id.encode(), telling.position) + telling.body()[1:]


def _asking(types: Sequence[str] | None, stations: Sequence[str] | None, sites: Sequence[str] | None) -> Webhook:
    """Return the filter that was asked for.

    Raises:
        Invalid: there is no such type, or a pattern is none.
    """
    for name, patterns in (("station", stations), ("site", sites)):
        if patterns is not None:
            check_patterns(name, patterns)
    for type in types or ():
        if type not in TYPES:
            hint = meant(type, TYPES, otherwise="there are")
            raise Invalid("event", f"there is no type {type[:60]!r} to pull; {hint}")
    return asking_for(types or (ONLINE, OFFLINE), stations or ("*",), sites or ("*",))


def _begin(engine: Engine, given: str, name: str) -> Cursor:
    """Return where to go on.

    Raises:
        Invalid: it is no cursor, or the log does not reach so far.
    """
    if not re.fullmatch(_CURSOR, given):
        raise Invalid(name, f"{given[:40]!r} is no position and no `next` of a page")
    position, _, number = given.partition(".")
    return Cursor(reached(engine, int(position), name=name), int(number) if number else WHOLE)
