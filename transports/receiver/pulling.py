"""Pull instead of push: the pages of `GET /messages`, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from attrs import frozen

from .messages import BadMessage, Message, read_fields


@frozen
class Page:
    """Some messages, oldest first, and where to go on."""

    messages: tuple[Message, ...]
    after: str
    """Where the next page begins. Keep it once the messages are dealt with; a restart goes on from there."""
    more: bool
    """Whether more can be had at once."""


def pages(fetch: Callable[[str], Mapping[str, Any]], after: int | str = 0) -> Iterator[Page]:
    """Yield page after page, for ever; break off where `more` is false, or let *fetch* wait for news.

    *fetch* is given the value of `after`, asks `GET /messages?after=...`, with a `wait` if it likes, and returns the
    JSON object that came. What it raises is raised from here; go on with the `after` of the page before.

    Raises:
        BadMessage: what was fetched is no page of messages.
    """
    while True:
        page = read_page(fetch(str(after)))
        after = page.after
        yield page


def read_page(fetched: Mapping[str, Any]) -> Page:
    """Read a page.

    Raises:
        BadMessage: it is none.
    """
    try:
        entries, next, position = list(fetched["data"]), fetched["next"], fetched["position"]
    except (KeyError, TypeError):
        raise BadMessage("this is no page of messages") from None
    if not (next is None or isinstance(next, str)) or isinstance(position, bool) or not isinstance(position, int):
        raise BadMessage("this page does not say where to go on")
    return Page(tuple(map(_message, entries)), str(position) if next is None else next, next is not None)


def _message(entry: object) -> Message:
    if not isinstance(entry, dict):
        raise BadMessage("an entry of the page is no object")
    fields = cast("dict[str, object]", entry)
    id = fields.get("id")
    if not isinstance(id, str):
        raise BadMessage("a message of the page has no id")
    return read_fields(id, fields)
