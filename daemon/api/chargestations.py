"""Stations: listed, shown as of now or of any moment, registered, changed, removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import trio
from attrs import asdict
from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...engine.clock import parse_time, rfc3339
from ...engine.events import PingSettings, StationRecord
from ...engine.fold import Fold
from ...engine.log import Log
from ...engine.log.stations import life_of
from ...projections import conflicts, presence, registry
from ...projections.chargestation import chargestation
from ..http.paths import encoded
from ..registry.errors import Invalid, NotFound
from ..registry.registrar import Registrar
from ..registry.requests import KEEP, NewStation, StationChanges
from ..why import conflict_as_json
from . import shapes
from .answers import json_answer, page, page_of_ids
from .parameters import Cursor, Id, Limit

REPLAYS: Final = trio.CapacityLimiter(2)
"""Replays at once: each keeps a thread busy for as long as a station's life is, and the committer needs one, too."""

_AT: Final = {
    "name": "at",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "As of this position, or of this time (RFC 3339): the last event at or before it.",
}


class BareRoute(APIRoute):
    """A route whose endpoint is called with the request alone, a third of the cost; its parameters are written out."""

    def get_route_handler(self) -> Any:
        return self.endpoint


def known(engine: Engine, id: str) -> bool:
    """Return whether there is such a station: registered, or let in openly.

    A station that was removed is gone as soon as it is offline; its history stays.
    """
    registered = engine.state(registry)
    if id in registered:
        return True
    station = engine.state(presence).get(id)
    return station is not None and (station.online or id not in registered.removed)


def everybody(engine: Engine) -> set[str]:
    """Return the ids of all stations that there are (see `known`); 50 000 of them take some 5 ms."""
    fleet, registered = engine.state(presence), engine.state(registry)
    gone = {id for id in registered.removed if id in fleet and not fleet[id].online}
    return {*fleet, *registered} - gone


def shown(engine: Engine, id: str) -> dict[str, object]:
    """Return the object of a station as of now, with what the gateway that holds it sees.

    Raises:
        NotFound: there is no such station.
    """
    found = chargestation(engine.state(presence), engine.state(registry), id) if known(engine, id) else None
    if found is None:
        raise NotFound(f"there is no station {id!r}")
    registered = engine.state(registry).get(id)
    found["registered"] = registered is not None
    found.update(terms_of(None if registered is None else registered.record))
    found["conflict"] = conflict_as_json(engine.state(conflicts).of(id, engine.now()))
    live = engine.connection(id)
    if live is not None and not live.over:
        rtt = live.round_trip()
        found["live"] = {
            "lastMessageAt": rfc3339(live.alive_at),
            "rttMs": None if rtt is None else round(rtt * 1000, 3),
            "remote": live.arrival.remote,
        }
    return found


def shown_as_of(log: Log, id: str, moment: str) -> dict[str, object]:
    """Replay what concerns a station up to a moment, and return its object as of then.

    Raises:
        Invalid: the moment is none.
        NotFound: there was no such station.
    """
    position = position_of(log, moment)
    fold = Fold([presence, registry, conflicts])
    for recorded in life_of(log, id, until=position):
        fold.advance(recorded)
    newest = next(log.read(position - 1, until=position), None)
    found = chargestation(fold.state(presence), fold.state(registry), id)
    if found is None:
        raise NotFound(f"there was no station {id!r} as of position {position}")
    registered = fold.state(registry).get(id)
    terms = terms_of(None if registered is None else registered.record)
    conflict = None if newest is None else fold.state(conflicts).of(id, newest.at)
    as_of = {"position": position, "at": None if newest is None else rfc3339(newest.at)}
    return {**found, **terms, "conflict": conflict_as_json(conflict), "asOf": as_of}


def terms_of(record: StationRecord | None) -> dict[str, object]:
    """Return what a station is registered with beside its public object: never part of a webhook."""
    if record is None:
        return {"liveness": None, "profile": None, "serial": None, "lenient": []}
    return {
        "liveness": None if record.liveness is None else asdict(record.liveness),
        "profile": record.profile,
        "serial": record.serial,
        "lenient": list(record.lenient),
    }


def position_of(log: Log, moment: str, *, name: str = "at", before: bool = False) -> int:
    """Return the position that a moment means: itself, or the last one whose time is at or before it.

    With *before* a time means the last position before it.

    Raises:
        Invalid: it is neither a position of the log nor a time.
    """
    if moment.isascii() and moment.isdigit():
        if len(moment) > 18 or int(moment) > log.position:
            raise Invalid(name, f"position {moment[:20]} has not been written; the log ends at {log.position}")
        return int(moment)
    try:
        # The "+" of an offset arrives as a space where it was not encoded.
        return log.position_at(parse_time(moment.replace(" ", "+") if "T" in moment else moment) - before)
    except ValueError as error:
        raise Invalid(name, f"{error}; or give a position") from None


def actor(request: Request) -> str:
    """Return whom an event names as its actor."""
    return str(request.scope["token"].name)


def chargestations(engine: Engine, registrar: Registrar) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["chargestations"])

    @router.get("/chargestations", summary="List stations", response_model=shapes.Chargestations)
    async def list_stations(
        online: Annotated[bool | None, Query(description="Only those whose flag says so.")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Stations in the order of their ids."""
        ids, next = page_of_ids(_listed(engine, online), cursor, limit)
        return json_answer(page([shown(engine, id) for id in ids], next))

    @router.post("/chargestations", status_code=201, summary="Register a station",
                 response_model=shapes.ChargestationCreated)  # fmt: skip
    async def register(request: Request, given: shapes.StationGiven) -> Response:
        """A generated password is in this answer, and in none after it."""
        fields = given.model_dump(exclude={"liveness", "lenient"})
        wanted = NewStation(**fields, liveness=_liveness(given.liveness), lenient=tuple(given.lenient))
        made = await registrar.register(wanted, actor=actor(request))
        answer = shown(engine, given.id)
        if made.password is not None:
            answer["password"] = made.password
        return json_answer(answer, 201, {"location": "/chargestations/" + encoded(given.id)})

    async def show(request: Request) -> Response:
        """The double check that the webhooks' documentation recommends, or the state as of any moment."""
        id, moment = request.path_params["id"], request.query_params.get("at")
        if moment is None:
            return json_answer(shown(engine, id))
        return json_answer(await trio.to_thread.run_sync(_replay, engine, id, moment, limiter=REPLAYS))

    router.add_api_route("/chargestations/{id:id}", show, methods=["GET"], summary="Show a station",
                         response_model=shapes.Chargestation, openapi_extra={"parameters": [_ID, _AT]},
                         route_class_override=BareRoute)  # fmt: skip

    @router.patch("/chargestations/{id:id}", summary="Change a station", response_model=shapes.ChargestationCreated)
    async def update(request: Request, id: Id, given: shapes.StationChangesGiven) -> Response:
        """What is left out stays as it is. A new password ends the connection that used the old one."""
        answer: dict[str, object] = {}
        if given.model_fields_set:
            made = await registrar.update(id, _changes(given), actor=actor(request))
            if made.password is not None:
                answer["password"] = made.password
        return json_answer({**shown(engine, id), **answer})

    @router.delete("/chargestations/{id:id}", status_code=204, summary="Remove a station")
    async def remove(request: Request, id: Id) -> Response:
        """Its connection is dropped; its history stays."""
        await registrar.remove(id, actor=actor(request))
        return Response(status_code=204)

    return router


_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "Percent-encoded; a slash in it is `%2F`.",
}


def _replay(engine: Engine, id: str, moment: str) -> dict[str, object]:
    with engine.reader() as log:
        return shown_as_of(log, id, moment)


def _listed(engine: Engine, online: bool | None) -> Iterable[str]:
    if online is None:
        return everybody(engine)
    fleet = engine.state(presence)
    on = {id for id, station in fleet.items() if station.online}
    return on if online else everybody(engine) - on


def _liveness(given: shapes.LivenessGiven | None) -> PingSettings | None:
    return None if given is None else PingSettings(**given.model_dump())


def _changes(given: shapes.StationChangesGiven) -> StationChanges:
    named: Mapping[str, Any] = {name: getattr(given, name) for name in given.model_fields_set}
    for name in ("password", "security", "name", "site", "lenient"):
        if name in named and named[name] is None:
            raise Invalid(name, "null is no value; leave it out to keep what is there")
    wanted: dict[str, Any] = {**named, "liveness": _liveness(given.liveness) if "liveness" in named else KEEP}
    if given.lenient is not None:
        wanted["lenient"] = tuple(given.lenient)
    return StationChanges(**wanted)
