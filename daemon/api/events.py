"""The history: pulled with a cursor, waited for, or streamed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Annotated, Final

import msgspec
import trio
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...engine.clock import rfc3339
from ...engine.entry import Recorded
from ...engine.events import KINDS
from ..http.streams import EventStream, Push, sse_event
from ..meant import meant
from ..registry.errors import Invalid, NotFound
from . import shapes
from .answers import json_answer, page
from .chargestations import known
from .parameters import After, Id, Kinds, Limit, Onward

READERS: Final = trio.CapacityLimiter(4)
"""Reads of the log at once; each takes a thread for some milliseconds."""
LONGEST_WAIT: Final = 60.0
"""Seconds: under the time at which proxies give up."""
GATHER: Final = 0.2
"""Seconds that a stream gathers news, so that a storm is read in batches."""
BATCH: Final = 500

_encode: Final = msgspec.json.Encoder().encode


def shown_event(recorded: Recorded) -> dict[str, object]:
    """Return the object of an event. What is private (addresses) is not in it."""
    return {
        "position": recorded.position,
        "id": recorded.id,
        "at": rfc3339(recorded.at),
        "kind": recorded.kind,
        "schema": recorded.schema,
        "subject": recorded.subject,
        "gateway": recorded.gateway,
        "run": recorded.run,
        "actor": recorded.actor,
        "body": msgspec.Raw(recorded.body),
    }


async def read_events(
    engine: Engine, after: int, limit: int, *, subject: str | None = None, kinds: Collection[str] | None = None
) -> tuple[list[Recorded], int]:
    """Return the events after a position, and how far was looked. None is newer than what is folded."""

    def read() -> list[Recorded]:
        with engine.reader() as log:
            return list(islice(log.read(after, until=head, subject=subject, kinds=kinds), limit))

    head = engine.position
    if after >= head:
        return [], after
    found = await trio.to_thread.run_sync(read, limiter=READERS)
    return found, found[-1].position if len(found) == limit else head


def history(engine: Engine) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["events"])

    async def answer(
        after: int, limit: int, *, subject: str | None = None, kinds: Collection[str] | None = None
    ) -> Response:
        found, looked = await read_events(engine, after, limit, subject=subject, kinds=kinds)
        more = str(looked) if looked < engine.position else None
        return json_answer({**page([shown_event(recorded) for recorded in found], more), "position": looked})

    @router.get("/events", summary="Pull events", response_model=shapes.Events)
    async def pull(
        request: Request,
        after: After = 0,
        wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for news, 60 at most.")] = 0.0,
        limit: Limit = 100,
        kind: Kinds = None,
        cursor: Onward = None,
    ) -> Response:
        """Everything that happened, in order. `position` says how far was looked: go on with `after` = that."""
        kinds, after = _kinds(kind), reached(engine, after, cursor)
        if wait and after >= engine.position:
            await wait_for_news(engine, after, wait, request)
        return await answer(after, limit, kinds=kinds)

    @router.get("/events/stream", summary="Stream events", response_class=Response,
                responses={200: {"content": {"text/event-stream": {}}}})  # fmt: skip
    async def stream(
        after: Annotated[int | None, Query(ge=0, lt=2**62, description="A position; without it, from now on.")] = None,
        kind: Kinds = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Server-sent events; the id of each is its position, so that a client which comes back goes on from there."""
        kinds, begin = _kinds(kind), engine.position if after is None else reached(engine, after)
        if last_event_id is not None:
            if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
                raise Invalid("Last-Event-ID", "it is a position")
            begin = reached(engine, int(last_event_id), name="Last-Event-ID")
        return EventStream(lambda push: _follow(engine, begin, kinds, push))

    @router.get("/chargestations/{id:id}/events", summary="Show a station's history", response_model=shapes.Events)
    async def of_station(
        id: Id,
        after: After = 0,
        limit: Limit = 100,
        cursor: Onward = None,
    ) -> Response:
        """What was recorded of one station, its removal included."""
        page = await answer(reached(engine, after, cursor), limit, subject=id)
        if not known(engine, id) and not (await read_events(engine, 0, 1, subject=id))[0]:
            raise NotFound(f"there is no station {id!r}")
        return page

    return router


def reached(engine: Engine, after: int, cursor: int | None = None, *, name: str = "after") -> int:
    """Return the position to go on from.

    Raises:
        Invalid: the log does not reach so far. It was restored from an older copy, or is another one: whoever asks
            would hear nothing until it has grown, and then miss what it wrote anew.
    """
    name, wanted = (name, after) if cursor is None else ("cursor", cursor)
    if wanted > engine.position:
        raise Invalid(
            name,
            f"position {wanted} has not been written; the newest is {engine.position}. If the log was restored from "
            "an older copy, go on from there",
        )
    return wanted


def _kinds(wanted: Sequence[str] | None) -> frozenset[str] | None:
    """Return the kinds asked for.

    Raises:
        Invalid: there is no such kind.
    """
    for kind in wanted or ():
        if kind not in KINDS:
            hint = meant(kind, KINDS, otherwise="there are")
            raise Invalid("kind", f"there is no kind {kind[:60]!r}; {hint}")
    return None if wanted is None else frozenset(wanted)


async def wait_for_news(engine: Engine, after: int, seconds: float, request: Request) -> bool:
    """Wait for news, and no longer than there is somebody to tell; return whether there still is."""
    here = True

    async def until_gone() -> None:
        nonlocal here
        while (await request.receive())["type"] != "http.disconnect":
            pass
        here = False
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + seconds
        nursery.start_soon(until_gone)
        await engine.beyond(after)
        nursery.cancel_scope.cancel()
    return here


async def _follow(engine: Engine, after: int, kinds: Collection[str] | None, push: Push) -> None:
    while True:
        await engine.beyond(after)
        found, after = await read_events(engine, after, BATCH, kinds=kinds)
        for recorded in found:
            await push(sse_event(_encode(shown_event(recorded)), event=recorded.kind, id=str(recorded.position)))
        if len(found) < BATCH:
            await trio.sleep(GATHER)
