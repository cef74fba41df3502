"""The dashboard: the fleet, one station, who was turned away, the subscriptions, one of them.

Rendered here, and kept true by server-sent events.

A page is made of parts, each with a key: what it shows, as a value. A live stream looks whenever something was folded
(and now and then besides, for proofs of life are no events), renders the parts whose keys changed, and sends those; a
browser puts each in the place of the one before. Without JavaScript the same pages have a link to load them again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import trio
from attrs import frozen
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...engine import Engine
from ...projections import outbox, presence, registry, webhooks
from ...projections.chargestation import chargestation
from ...projections.webhooks import Webhook
from ..api.chargestations import known
from ..http.streams import EventStream, Push, sse_event
from ..http.tokens import Tokens
from ..registry.nearest import meant
from .availability import MINUTE, Availability
from .pages import render, render_page
from .refused import SHOWN, conflict_of, conflicts_of, refused_of
from .subscriptions import (
    ANSWERS,
    FRESH,
    SPANS,
    Lookout,
    happened_view,
    past_view,
    settings_view,
    subscription_of,
    subscriptions_of,
)
from .timeline import timeline
from .views import FILTERS, PAGE, Roll, Row, row_of

GATHER: Final = 0.25
"""Seconds between two looks: quicker than an eye, and a storm becomes one push."""
LOOK: Final = 5.0
"""Seconds after which proofs of life are looked at, though nothing was recorded."""

_encode: Final = msgspec.json.Encoder().encode


@frozen(kw_only=True)
class Part:
    """A part of a page."""

    key: Hashable
    """What it shows; it is rendered again only if this changed."""
    render: Callable[[], Awaitable[str]]


Parts: TypeAlias = Mapping[str, Part]
"""By name: the `data-part` of the element that it replaces."""


class Dashboard:
    """The pages of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.roll = Roll(engine)
        self.availability = Availability(engine)
        self.lookout = Lookout(engine)

    # --- the fleet ---------------------------------------------------------------------------------------------------

    def fleet(self, request: Request) -> dict[str, Any]:
        """Return what the list of the fleet shows, as of the roll's last look."""
        show, wanted = request.query_params.get("show", ""), request.query_params.get("q", "")[:100]
        show = show if show in FILTERS else ""
        ids = self.roll.ids(show, wanted)
        pages = max(1, -(-len(ids) // PAGE))
        asked = request.query_params.get("page", "1")
        number = min(max(int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1, 1), pages)
        rows = [row_of(self.engine, id) for id in ids[(number - 1) * PAGE : number * PAGE]]
        return {"show": show, "wanted": wanted, "rows": rows, "found": len(ids), "page": number, "pages": pages,
                "counts": self.roll.counts, "conflicts": conflicts_of(self.engine), **self._status()}  # fmt: skip

    def fleet_parts(self, request: Request) -> Parts:
        """Return the parts of the fleet's page; as long as the same stations are on it, a part for each."""
        view = self.fleet(request)
        ids = tuple(row.id for row in view["rows"])
        rows = {f"station {row.id}": Part(key=row, render=partial(self._row, row)) for row in view["rows"]}
        counts = Part(key=(view["counts"], view["conflicts"], self.engine.mute), render=_rendered("counts.html", view))
        whole = Part(key=(ids, view["found"], view["pages"]), render=_rendered("list.html", view))
        return {"counts": counts, "list": whole, **rows}

    async def _row(self, row: Row) -> str:
        return render("row.html", row=row, now=self.engine.now())

    # --- a station ---------------------------------------------------------------------------------------------------

    async def station(self, id: str) -> dict[str, Any]:
        """Return what the page of a station shows."""
        engine = self.engine
        found = chargestation(engine.state(presence), engine.state(registry), id) or {}
        live, registered = engine.connection(id), engine.state(registry).get(id)
        return {"id": id, "row": row_of(engine, id), "found": found, "rtt": live.rtt if live else None,
                "network_rtt": live.link.rtt() if live and live.rtt is None else None,
                "liveness": registered.record.liveness if registered else None,
                "available": await self.availability.of(id) if found.get("lastConnectAt") else "",
                "refused": refused_of(engine, id), "conflict": conflict_of(engine, id),
                "moments": await timeline(engine, id), **self._status()}  # fmt: skip

    def station_parts(self, id: str) -> Parts:
        """Return the parts of a station's page."""
        engine = self.engine
        messages = tuple(
            (message, engine.deliveries.attempted(message.id) if engine.deliveries else 0)
            for box in engine.state(outbox).boxes.values()
            for message in box.lane(id)
        )
        row, found = row_of(engine, id), engine.state(presence).get(id)

        async def main() -> str:
            return render("station_main.html", **await self.station(id))

        turned_away = (refused_of(engine, id), conflict_of(engine, id))
        key = (row, found, engine.state(registry).get(id), messages, turned_away, engine.now() // MINUTE)
        return {"main": Part(key=key, render=main)}

    # --- who was turned away -----------------------------------------------------------------------------------------

    def refused(self, id: str | None = None) -> dict[str, Any]:
        """Return what the page of those turned away shows, or that of one id that nobody knows otherwise."""
        registered = self.engine.state(registry)
        like = [] if id is None else meant(id, registered)
        return {"id": id, "refused": refused_of(self.engine, id), "meant": like, "most": SHOWN, **self._status()}

    def refused_parts(self, id: str | None = None) -> Parts:
        """Return the parts of that page."""

        async def main() -> str:
            return render("refused_main.html", **self.refused(id))

        return {"main": Part(key=refused_of(self.engine, id), render=main)}

    # --- the subscriptions -------------------------------------------------------------------------------------------

    def subscriptions(self) -> dict[str, Any]:
        """Return what the page of the subscriptions shows."""
        return {"subscriptions": subscriptions_of(self.engine), "answers": ANSWERS, **self._status()}

    def subscriptions_parts(self) -> Parts:
        """Return the parts of that page."""
        found = self.lookout.look()
        view = {"subscriptions": found, "answers": ANSWERS, **self._status()}
        key = (tuple(found), self.engine.mute)
        return {"main": Part(key=key, render=_rendered("subscriptions_main.html", view))}

    async def subscription(self, webhook: Webhook, span: str) -> dict[str, Any]:
        """Return what the page of a subscription shows."""
        past, happened = await past_view(self.engine, webhook, span), await happened_view(self.engine, webhook)
        shown, settings = subscription_of(self.engine, webhook), settings_view(self.engine, webhook)
        return {"subscription": shown, **settings, **past, **happened, **self._status()}

    def subscription_parts(self, id: str, span: str) -> Parts:
        """Return the parts of that page."""
        engine, webhook = self.engine, self.engine.state(webhooks).get(id)
        if webhook is None:
            return {"main": Part(key=None, render=_rendered("subscription_gone.html", {"id": id}))}
        shown = subscription_of(engine, webhook)
        view = {"id": id, "subscription": shown, **self._status()}

        async def past() -> str:
            return render("subscription_past.html", **await past_view(engine, webhook, span))

        async def happened() -> str:
            return render("subscription_happened.html", **await happened_view(engine, webhook), **self._status())

        async def settings() -> str:
            await trio.lowlevel.checkpoint()
            return render("subscription_settings.html", **settings_view(engine, webhook), **self._status())

        return {
            "main": Part(key=(shown, engine.mute), render=_rendered("subscription_main.html", view)),
            "settings": Part(key=webhook.record, render=settings),
            "past": Part(key=engine.now() // FRESH, render=past),
            "answers": Part(
                key=(shown.answers, shown.state, webhook.state), render=_rendered("subscription_answers.html", view)
            ),
            "happened": Part(key=webhook, render=happened),
        }

    def _status(self) -> dict[str, Any]:
        return {"now": self.engine.now(), "mute": self.engine.mute, "gateway": self.engine.gateway}

    # --- live --------------------------------------------------------------------------------------------------------

    def live(self, look: Callable[[], Parts]) -> Response:
        """Answer with a stream of the parts that change."""
        return EventStream(partial(self._follow, look))

    async def _follow(self, look: Callable[[], Parts], push: Push) -> None:
        shown: dict[str, Hashable] = {}
        while True:
            position = self.engine.position
            await self.roll.look()
            parts = look()
            changed = {name: await part.render() for name, part in parts.items() if shown.get(name, _NEVER) != part.key}
            if "list" in changed:  # and the rows in it
                changed = {name: html for name, html in changed.items() if not name.startswith("station ")}
            if changed:
                await push(sse_event(_encode(changed), event="parts"))
            shown = {name: part.key for name, part in parts.items()}
            await trio.sleep(GATHER)
            with trio.move_on_after(GATHER if self.roll.stale else LOOK):
                await self.engine.beyond(position)


_NEVER: Final = object()


def _rendered(template: str, view: dict[str, Any]) -> Callable[[], Awaitable[str]]:
    async def rendered() -> str:
        return render(template, **view)

    return rendered


def dashboard(engine: Engine, tokens: Tokens) -> APIRouter:
    """Return the routes of the pages and of their streams."""
    router = APIRouter(include_in_schema=False)
    pages = Dashboard(engine)

    def is_there(id: str) -> bool:
        return known(engine, id) or id in engine.state(presence)

    @router.get("/")
    async def fleet(request: Request) -> Response:
        await pages.roll.look()
        live = "/live/fleet?" + request.url.query
        return render_page("fleet.html", request, live=live, login=tokens.checked, **pages.fleet(request))

    @router.get("/stations/{id:id}")
    async def station(request: Request, id: str) -> Response:
        live = "/live" + request.url.path
        if not is_there(id):
            view = pages.refused(id)
            if not view["refused"]:
                return render_page("nothing.html", request, status=404, login=tokens.checked, live="", what=id)
            return render_page("refused.html", request, live=live, login=tokens.checked, **view)
        return render_page("station.html", request, live=live, login=tokens.checked, **await pages.station(id))

    @router.get("/refused")
    async def refused(request: Request) -> Response:
        return render_page("refused.html", request, live="/live/refused", login=tokens.checked, **pages.refused())

    @router.get("/live/fleet")
    async def fleet_live(request: Request) -> Response:
        return pages.live(lambda: pages.fleet_parts(request))

    @router.get("/live/stations/{id:id}")
    async def station_live(id: str) -> Response:
        return pages.live(lambda: pages.station_parts(id) if is_there(id) else pages.refused_parts(id))

    @router.get("/live/refused")
    async def refused_live() -> Response:
        return pages.live(pages.refused_parts)

    _subscription_routes(router, pages, tokens)
    return router


def _subscription_routes(router: APIRouter, pages: Dashboard, tokens: Tokens) -> None:
    @router.get("/subscriptions")
    async def subscriptions(request: Request) -> Response:
        live = "/live/subscriptions"
        return render_page("subscriptions.html", request, live=live, login=tokens.checked, **pages.subscriptions())

    @router.get("/subscriptions/{id:id}")
    async def subscription(request: Request, id: str) -> Response:
        webhook, span = pages.engine.state(webhooks).get(id), span_of(request)
        if webhook is None:
            return render_page("subscription_nothing.html", request, status=404, login=tokens.checked, live="", id=id)
        live = f"/live{request.url.path}?span={span}"
        view = await pages.subscription(webhook, span)
        return render_page("subscription.html", request, live=live, login=tokens.checked, **view)

    @router.get("/live/subscriptions")
    async def subscriptions_live() -> Response:
        return pages.live(pages.subscriptions_parts)

    @router.get("/live/subscriptions/{id:id}")
    async def subscription_live(request: Request, id: str) -> Response:
        span = span_of(request)
        return pages.live(lambda: pages.subscription_parts(id, span))


def span_of(request: Request) -> str:
    """Return which picture is asked for."""
    asked = request.query_params.get("span", "")
    return asked if asked in SPANS else "day"
