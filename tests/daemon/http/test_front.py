"""What is answered while there is no API: alive, and not ready."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from stationkeeper.daemon.http.front import Front

Message = MutableMapping[str, Any]


async def ask(front: Front, path: str) -> tuple[int, dict[bytes, bytes], Any]:
    """Call an application, and return the status, headers and content of its answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await front({"type": "http", "method": "GET", "path": path}, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), json.loads(body["body"])


async def test_the_process_is_alive_before_it_is_ready() -> None:
    status, _, answer = await ask(Front(), "/healthz")

    assert (status, answer["status"]) == (200, "alive")


@pytest.mark.parametrize("path", ["/readyz", "/chargestations", "/"])
async def test_all_else_is_put_off_with_a_problem_document(path: str) -> None:
    status, headers, problem = await ask(Front(), path)

    assert status == 503
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"retry-after"] == b"1"
    assert problem["status"] == 503


async def test_once_there_is_an_application_it_answers() -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b'"here"'})

    front = Front()
    front.app = app

    assert await ask(front, "/readyz") == (204, {}, "here")
