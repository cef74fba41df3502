"""Answers: JSON, pages of a list, and problems."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Final, get_args

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...engine.errors import Conflict, LogError
from ..http.problems import problem
from ..meant import meant
from ..registry.errors import (
    AlreadySettled,
    AlreadyThere,
    InConfiguration,
    Invalid,
    NotFound,
    Refused,
    SecretsMissing,
    StillPending,
)

LOG_RETRY: Final = 10
"""Seconds until a client should try again while the log cannot be written."""

_encode: Final = msgspec.json.Encoder().encode


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON that nobody may keep: the truth of a moment ago is not the truth."""
    return Response(
        _encode(content),
        status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def problem_answer(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """Answer with a problem document (RFC 9457)."""
    return Response(
        problem(status, detail, **more),
        status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


def page(data: Sequence[object], next: str | None) -> dict[str, object]:
    """Return a page of a list; *next* is the cursor of the one after it."""
    return {"data": data, "next": next}


def page_of_ids(ids: Iterable[str], cursor: str | None, limit: int) -> tuple[list[str], str | None]:
    """Return the ids of one page, in order, and the cursor of the next: pages stay true while ids come and go.

    Raises:
        Invalid: it is no cursor of ours.
    """
    after = read_cursor(cursor) if cursor else ""
    found = nsmallest(limit + 1, [id for id in ids if id > after])
    return found[:limit], write_cursor(found[limit - 1]) if len(found) > limit else None


def write_cursor(id: str) -> str:
    """Return a cursor that stands for the last entry of a page."""
    return urlsafe_b64encode(id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return what a cursor stands for.

    Raises:
        Invalid: it is no cursor of ours.
    """
    try:
        return b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (Base64Error, ValueError):
        raise Invalid("cursor", f"{cursor[:40]!r} is none of ours; take `next` of the page before") from None


def answer_errors(app: FastAPI) -> None:
    """Let every error that an endpoint may meet be answered as a problem document."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(LogError, _log_unavailable)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(Exception, _ours)


_STATUS: Final[dict[type[Refused], int]] = {
    NotFound: 404,
    AlreadyThere: 409,
    StillPending: 409,
    AlreadySettled: 409,
    InConfiguration: 409,
    SecretsMissing: 409,
    Invalid: 422,
}


async def _http(request: Request, error: Any) -> Response:
    details: dict[int, str] = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not for this path.",
    }
    return problem_answer(error.status_code, details.get(error.status_code) or str(error.detail), headers=error.headers)


async def _unprocessable(request: Request, error: Any) -> Response:
    json = "json" in request.headers.get("content-type", "")
    errors = [_fault(item, _known(request), json=json) for item in error.errors()]
    said = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return problem_answer(422, said, errors=errors)


def _known(request: Request) -> Sequence[str]:
    """Return the names of the fields of the body that a route takes."""
    body: Any = getattr(request.scope.get("route"), "body_field", None)
    # A body that may be left out is its model or none.
    models = () if body is None else (body.field_info.annotation, *get_args(body.field_info.annotation))
    empty: list[str] = []
    return next((list(model.model_fields) for model in models if hasattr(model, "model_fields")), empty)


def _fault(item: Mapping[str, Any], known: Sequence[str], *, json: bool) -> dict[str, str]:
    """Say what is wrong in one place. Never with the input itself: it may hold a password."""
    place = tuple(item["loc"])
    if item["type"] == "json_invalid":
        # The place is that of a character, not of a field.
        return {"field": "body", "message": f"it is not JSON, from character {place[-1]} on"}
    if place == ("body",) and item["type"] != "missing" and not json:
        return {"field": "body", "message": "send Content-Type: application/json, so that it is read as JSON"}
    if item["type"] == "extra_forbidden":
        # Of what lies deeper the names are not at hand.
        hint = nearest(str(place[-1]), known) if len(place) == 2 else ""
        return {"field": _field(place), "message": f"there is no such field{hint}"}
    if item["type"] == "value_error":
        # In our own words, without those that the library puts before them.
        return {"field": _field(place), "message": f"wanted is {item['ctx']['error']}"}
    return {"field": _field(place), "message": item["msg"]}


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint at what a word that is not known may mean, to stand behind what says so."""
    return f"; {meant(word.lower(), known)}" if known else ""


def _field(place: Sequence[object]) -> str:
    return ".".join(str(step) for step in place if step not in ("body", "query", "path")) or "body"


async def _refused(request: Request, error: Any) -> Response:
    if isinstance(error, Invalid):
        return problem_answer(422, str(error), errors=[{"field": error.field, "message": str(error)}])
    return problem_answer(_STATUS[type(error)], str(error))


async def _log_unavailable(request: Request, error: Any) -> Response:
    detail = "The log cannot be written or read for now; what was asked may or may not have been recorded."
    return problem_answer(503, detail, headers={"retry-after": str(LOG_RETRY)}, reason="log_unavailable")


async def _conflict(request: Request, error: Any) -> Response:
    return problem_answer(409, str(error))


async def _ours(request: Request, error: Any) -> Response:
    return problem_answer(500, "This is a fault of ours, and it was logged.")
