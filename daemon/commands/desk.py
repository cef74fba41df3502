"""Where `station` and `webhook` take their requests: a running daemon, or a log that none holds.

Both answer the same requests of the same API with the same problem documents. For a log that nobody serves, the API
runs in this very process, over the log, with no socket between.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import click

from ...engine.errors import StationkeeperError
from ...engine.log.driver import log_path
from .answers import answer_of

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT: Final = 30.0
"""Seconds; a daemon whose log is busy answers 503 long before."""
_PAGE: Final = 500


class Unreachable(StationkeeperError):
    """No daemon answers at that URL."""


class Desk(Protocol):
    """Takes requests of the HTTP API."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the decoded answer; none where it is empty.

        Raises:
            Refused: the answer is a problem document; the message is its detail.
            Unreachable: nobody answers.
        """
        ...


def pages(desk: Desk, path: str, **query: str) -> Iterator[dict[str, Any]]:
    """Return all rows of a list, page after page. The first is asked for at once, before anything is printed."""
    return _pages(desk, path, query, _page(desk, path, query, None))


def _pages(desk: Desk, path: str, query: Mapping[str, str], page: Any) -> Iterator[dict[str, Any]]:
    yield from page["data"]
    while page.get("next"):
        page = _page(desk, path, query, page["next"])
        yield from page["data"]


def _page(desk: Desk, path: str, query: Mapping[str, str], cursor: str | None) -> Any:
    asked = {**query, "limit": str(_PAGE), **({"cursor": cursor} if cursor else {})}
    return desk.call("GET", f"{path}?{urlencode(asked)}")


@contextmanager
def open_desk(url: str | None, log: str | None, *, make: bool = False) -> Generator[Desk]:
    """Open the desk that the options name: a log with *log*, else a daemon, which the environment may name.

    With *make* a log that is not there is made, and that is said.
    """
    if log is None:
        at = url or os.environ.get("STATIONKEEPER_URL") or DEFAULT_URL
        yield DaemonDesk(at, os.environ.get("STATIONKEEPER_TOKEN"))
        return
    if url is not None:
        raise click.UsageError("--url is for a running daemon, --log for a log that none holds; give one of them")
    from .in_process import open_log_desk

    path = log_path(log)
    new = make and not path.exists()
    with open_log_desk(log, make=make) as desk:
        if new:
            click.echo(f"{path} was not there: created, as a new log", err=True)
        yield desk


class DaemonDesk:
    """A running daemon, over HTTP."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--url {url}: write the address of the daemon's API, e.g. {DEFAULT_URL}")
        self._url = url.rstrip("/")
        self._token = token

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(self._url + path, method=method)
        request.add_header("Accept", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return answer_of(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return answer_of(error.code, error.read())
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"no daemon answers at {self._url} ({reason}); start one, name another with --url, "
                "or give --log for a log that no daemon holds"
            ) from error
