"""Who was turned away of late."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from ...engine import Engine
from ...projections import refusals, registry
from ...projections.refusals import LATE, Row
from .. import turned_away
from ..registry.errors import Invalid
from . import shapes
from .answers import json_answer, page, read_cursor, write_cursor
from .parameters import Cursor, Limit

_SEPARATOR: Final = " "
"""Between the parts of a cursor; the claimed id, in which anything may be, is the last of them."""


def refused(engine: Engine) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["chargestations"])

    @router.get("/refusals", summary="List who was turned away", response_model=shapes.Refusals)
    async def list_refusals(
        id: Annotated[str | None, Query(description="Only of this claimed id.")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """A row for each claimed id and reason that was turned away within the last seven days, the newest first: at
        most 1,000 for reasons that only registered ids can be turned away for, and 1,000 for all others.

        An id is claimed, not proven: anybody may have dialled in under it.
        """
        state, since = engine.state(refusals), engine.now() - LATE
        rows = state.rows(since) if id is None else state.of(id, since)
        if cursor is not None:
            after = _key_of(cursor)
            rows = [row for row in rows if _key(row) > after]
        shown, more = rows[:limit], len(rows) > limit
        return json_answer(page([_shown(engine, row) for row in shown], _cursor(shown[-1]) if more else None))

    return router


def _shown(engine: Engine, row: Row) -> dict[str, object]:
    return {**turned_away.as_json(row), "registered": row.claimed in engine.state(registry)}


def _key(row: Row) -> tuple[int, str, str]:
    return -row.last, row.claimed, row.reason


def _cursor(row: Row) -> str:
    return write_cursor(_SEPARATOR.join((str(row.last), row.reason, row.claimed)))


def _key_of(cursor: str) -> tuple[int, str, str]:
    """
    Raises:
        Invalid: it is no cursor of ours.
    """
    last, reason, claimed = [*read_cursor(cursor).split(_SEPARATOR, 2), "", ""][:3]
    if not (last.isascii() and last.isdigit() and len(last) < 20):
        raise Invalid("cursor", f"{cursor[:40]!r} is none of ours; take `next` of the page before")
    return -int(last), claimed, reason
