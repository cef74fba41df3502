"""What a receiver answers, as it arrives: bytes in, a head and a body out. No sockets, no clock.

h11 reads the answers. The plainest of them, a 2xx that is whole at once and says exactly how long it is, is read
without it (`plain_answer`), for a small part of the price; a test holds that reading against h11's.
"""

from __future__ import annotations

import re
from typing import Final

import h11

from .targets import Trouble

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of an answer's head; receivers behind several proxies stay under 8 KiB."""
BODY_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read at all."""
EXCERPT_LIMIT: Final = 4 * 1024
"""Bytes of it that are kept for people."""
ANSWER_LIMIT: Final = 96 * 1024
"""Bytes of all that comes: interim answers, the head, the body, and what a coding puts around it."""
PART_LIMIT: Final = 512
"""Parts that an answer comes in, reads and chunks alike: each costs about 10 microseconds, however small it is."""
INTERIM_LIMIT: Final = 8
"""Interim answers (1xx) before the final one; more are a flood."""

_PLAIN: Final = re.compile(rb"HTTP/1\.1 (2[0-9]{2}) [\t -~]*\r\n(?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~]*\r\n)*\r\n")
"""A 2xx with a head that nobody reads in two ways: whole lines, names that are tokens, values in plain ASCII."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[\t ]*([0-9]{1,5})[\t ]*\r\n")
_LINGERS: Final = re.compile(rb"\r\nconnection:[\t ]*keep-alive[\t ]*\r\n")
_ASKED: Final = h11.Request(method="POST", target="/", headers=[("host", "receiver"), ("content-length", "0")])
"""Stands for our request, whose bytes were written without h11, in its state."""
_ASKED_ALL: Final = h11.EndOfMessage()


class ClosedEarly(Trouble):
    """The receiver closed the connection before a single byte of its answer, or in the middle of its head."""


def plain_answer(data: bytes) -> tuple[int, bytes] | None:
    """Return status and body of the plainest answer, after which the connection is as good as before; none if it is
    any other, which h11 must read: it is in parts, too long or too short, closes, is coded, or is odd in any way."""
    head = _PLAIN.match(data)
    if head is None:
        return None
    end = head.end()
    names = data[:end].lower()
    if b"transfer-encoding" in names:
        return None
    asked = names.count(b"connection:")
    if asked and (asked > 1 or _LINGERS.search(names) is None):
        return None
    status, length = int(head[1]), 0
    announced = names.count(b"content-length")
    if announced:
        found = _LENGTH.search(names)
        if found is None or announced > 1:
            return None
        length = int(found[1])
    if status == 204:
        length = 0  # whatever it announces (RFC 9112, 6.3)
    elif not announced:
        return None
    return (status, data[end:]) if len(data) - end == length else None


class Reading:
    """One answer, as far as it has arrived. Give it what comes (`take`) until it is `whole`."""

    def __init__(self) -> None:
        self.heard = False
        """Whether anything has come at all."""
        self.status: int | None = None
        """None before the head of the final answer."""
        self.retry_after = ""
        self.location = ""
        self.whole = False
        self.reusable = False
        """Whether the connection can carry another exchange."""
        self._excerpt = bytearray()
        self._http: h11.Connection | None = None
        self._interim = 0
        self._came = 0
        self._parts = 0
        self._size = 0
        self._ambiguous = False

    def take(self, data: bytes) -> None:
        """Take what came; nothing: the receiver ended its side.

        Raises:
            Trouble: it is no answer, or too long, or in too many parts. What was read before stays: a status that
                has come says all that matters, but the connection is of no more use.
            h11.RemoteProtocolError: it is not HTTP.
        """
        if not self.heard and data:
            if data[:5] != b"HTTP/"[: len(data)]:
                raise Trouble(f"its answer is not HTTP, it begins with {data[:20]!r}")
            self.heard = True
            plain = plain_answer(data)
            if plain is not None:
                self.status, body = plain
                self._excerpt += body[:EXCERPT_LIMIT]
                self.whole = self.reusable = True
                return
        if not data and self.status is None:
            raise ClosedEarly(
                f"the receiver closed the connection {'within the head of its' if self.heard else 'without an'} answer"
            )
        http = self._http
        if http is None:
            http = self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
            http.send(_ASKED)
            http.send(_ASKED_ALL)
        self._came += len(data)
        if self._came > ANSWER_LIMIT:
            raise Trouble(f"the answer is longer than {ANSWER_LIMIT // 1024} KiB; the rest was not read")
        http.receive_data(data)
        while not self.whole and self._advance(http):
            pass

    @property
    def excerpt(self) -> str:
        """The begin of the body, for people. It is never inflated, whatever coding it has."""
        return self._excerpt.decode("utf-8", "replace")

    def _advance(self, http: h11.Connection) -> bool:
        """Follow one event of h11; return whether there may be another."""
        self._parts += 1
        if self._parts > PART_LIMIT:
            raise Trouble(f"the answer comes in more than {PART_LIMIT} parts; the rest was not read")
        event = http.next_event()
        if event is h11.NEED_DATA:
            return False
        if isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise Trouble(f"more than {INTERIM_LIMIT} interim answers (1xx) and no final one")
        elif isinstance(event, h11.Response):
            self.status = event.status_code
            headers = dict(event.headers)
            self.retry_after = headers.get(b"retry-after", b"").decode("latin-1")
            self.location = headers.get(b"location", b"").decode("latin-1")
            self._ambiguous = b"transfer-encoding" in headers and b"content-length" in headers
        elif isinstance(event, h11.Data):
            self._size += len(event.data)
            self._excerpt += event.data[: EXCERPT_LIMIT - len(self._excerpt)]
            if self._size > BODY_LIMIT:
                raise Trouble(f"the answer's body is longer than {BODY_LIMIT // 1024} KiB; the rest was not read")
        elif isinstance(event, h11.EndOfMessage):
            self.whole = True
            # More than was asked for is, whatever it is, not the answer to what is asked next.
            in_order = http.our_state is h11.DONE and http.their_state is h11.DONE
            # Of a length beside a coding, somebody between us may have believed the other one (RFC 9112, 6.3).
            self.reusable = in_order and not http.trailing_data[0] and not self._ambiguous
        return True
