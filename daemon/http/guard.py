"""What stands before the application: who asks, from where, and for which path.

It decides before a byte of a body is read, and by the head alone:

* With a token file: a bearer token (RFC 6750), or for reading the dashboard's cookie. Reading takes either scope,
  everything else `admin`.
* Without one: everybody on this machine may do everything. A web page that somebody on this machine looks at must not
  be able to use that, so the `Host` must be this machine (a rebound DNS name is not), and a change may not come from
  another site.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import HTTPConnection, cookie_parser

from .asgi import App, Message, Receive, Send
from .problems import problem
from .sessions import COOKIE, find_session
from .tokens import LOCAL, Token, Tokens, is_loopback

OPEN_TO_ALL: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/login", "/logout"})
"""Paths that nobody has to show a token for: they tell nothing of any station."""
READING: Final = frozenset({"GET", "HEAD"})

_ESCAPED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Guard:
    """An ASGI application that lets through what may be asked."""

    def __init__(self, app: App, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        scope["path"] = normal_path(scope["raw_path"])
        asked = HTTPConnection(scope)
        token, refusal = self._judge(asked)
        if refusal is not None:
            return await refusal(send)
        scope["token"] = token
        if scope["method"] == "HEAD":
            # Every GET can be asked for its head alone; the server leaves out the body.
            scope["method"] = "GET"
        return await self._app(scope, receive, send)

    def _judge(self, asked: HTTPConnection) -> tuple[Token, None] | tuple[None, Refusal]:
        reading = asked.scope["method"] in READING
        bearer = _bearer(asked)
        if bearer is None and not reading and not _same_site(asked):
            return None, Refusal(403, "Another site asked for this change; send a bearer token instead.")
        if not self._tokens.checked:
            if not is_loopback(_host_name(asked)):
                return None, Refusal(
                    403, "Without a token file this API answers only to names of this machine, e.g. localhost."
                )
            return LOCAL, None
        token = self._tokens.find(bearer) if bearer is not None else None
        if token is None and reading and bearer is None:
            token = find_session(self._tokens, cookie_parser(asked.headers.get("cookie", "")).get(COOKIE, ""))
        if token is None:
            if asked.scope["path"] in OPEN_TO_ALL:
                return LOCAL, None
            return None, self._who_are_you(asked, wrong=bearer is not None)
        if not reading and not token.may_change:
            return None, Refusal(403, f"The token {token.name} may only read; changes take an admin token.")
        return token, None

    def _who_are_you(self, asked: HTTPConnection, *, wrong: bool) -> Refusal:
        if asked.scope["method"] in READING and "text/html" in asked.headers.get("accept", ""):
            query = asked.scope["query_string"].decode("latin-1")
            back = asked.scope["path"] + ("?" + query if query else "")
            return Refusal(303, "", [(b"location", b"/login?next=" + quote(back, safe="/").encode())])
        error = ', error="invalid_token"' if wrong else ""
        return Refusal(
            401,
            "This token is not known." if wrong else "Show a token: Authorization: Bearer TOKEN.",
            [(b"www-authenticate", f'Bearer realm="stationkeeper"{error}'.encode())],
        )


class Refusal:
    """An answer to what may not be asked."""

    def __init__(self, status: int, detail: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.status = status
        self._body = problem(status, detail) if detail else b""
        self._headers = headers or []

    async def __call__(self, send: Send) -> None:
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(self._body)).encode()),
            (b"cache-control", b"no-store"),
            *self._headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def normal_path(raw: bytes) -> str:
    """Return a path in which only what must be is percent-encoded (RFC 3986, 6.2.2.2).

    A `%2F` in an id stays one, so that it does not look like the end of a segment; `paths.IdConvertor` decodes it.
    """

    def decoded(escape: re.Match[str]) -> str:
        char = chr(int(escape[1], 16))
        return char if char in _UNRESERVED else escape[0]

    return _ESCAPED.sub(decoded, raw.decode("latin-1"))


def _bearer(asked: HTTPConnection) -> str | None:
    scheme, _, secret = asked.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _host_name(asked: HTTPConnection) -> str:
    return urlsplit("//" + asked.headers.get("host", "")).hostname or ""


def _same_site(asked: HTTPConnection) -> bool:
    """Return whether a request can come from a page of ours, or from no page at all."""
    if asked.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = asked.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == asked.headers.get("host")
