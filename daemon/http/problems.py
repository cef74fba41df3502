"""RFC 9457 problem documents: the one shape of every error that the API answers."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


def problem(status: int, detail: str, **more: object) -> bytes:
    """Return a problem document: what kind of error, and *detail*, which says what would be right."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail, **more})
