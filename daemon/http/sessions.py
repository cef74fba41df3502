"""The dashboard's session: what a browser keeps instead of the token that was typed in.

A session is `<issued>.<mac>`, the mac keyed with the token's digest. It lets its holder read, outlives a restart of
ours, ends with its token or after a week, and is of no use as a bearer token.
"""

from __future__ import annotations

import hmac
import time
from typing import Final

from .tokens import Token, Tokens

COOKIE: Final = "stationkeeper"
LIFETIME: Final = 7 * 24 * 3600
"""Seconds; a week of shifts before somebody types the token again."""


def new_session(token: Token) -> str:
    """Return a session for somebody who showed a token."""
    return _sealed(token, str(int(time.time())))


def find_session(tokens: Tokens, session: str) -> Token | None:
    """Return the token behind a session; none if it is none of ours, or too old."""
    issued, _, _ = session.partition(".")
    if not (issued.isascii() and issued.isdigit() and len(issued) < 12 and time.time() - int(issued) < LIFETIME):
        return None
    return next((token for token in tokens if hmac.compare_digest(_sealed(token, issued), session)), None)


def _sealed(token: Token, issued: str) -> str:
    mac = hmac.new(token.digest, b"stationkeeper dashboard session " + issued.encode(), "sha256")
    return f"{issued}.{mac.hexdigest()}"
