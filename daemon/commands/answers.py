"""What an answer of the HTTP API means to a command: what it holds, or why the request was refused."""

from __future__ import annotations

import json
from typing import Any, cast

from ..registry.errors import AlreadyThere, Invalid, NotFound, Refused


def answer_of(status: int, content: bytes) -> Any:
    """Return what an answer holds.

    Raises:
        Refused: it is a problem document.
    """
    try:
        answer = json.loads(content) if content else None
    except ValueError:
        answer = None
    if status < 400:
        return answer
    problem = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    raise _refusal(status, str(problem.get("detail") or problem.get("title") or f"the daemon answered {status}"))


def _refusal(status: int, detail: str) -> Refused:
    match status:
        case 400 | 422:
            return Invalid("", detail)
        case 401 | 403:
            return Refused(f"{detail} (put a token of the daemon's token file into STATIONKEEPER_TOKEN)")
        case 404:
            return NotFound(detail)
        case 409:
            return AlreadyThere(detail)
        case _:
            return Refused(detail)
