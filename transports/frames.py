"""WebSocket frames, as far as a careful server must know them beside its library (RFC 6455, 5): no I/O, no clock.

The library decodes messages. Here stand the two control frames that we write ourselves, and a meter that only counts:
it follows the frame borders in what comes in, so that a frame which never ends is noticed, a message that is declared
too big is refused by its header, and messages that nobody fetches are bounded.
"""

from __future__ import annotations

from struct import pack
from typing import Final

PING: Final = b"\x89\x00"
"""A ping without payload. The pong's content does not matter: any byte of a station is proof of life."""

_CLOSE: Final = 0x88
_FIN: Final = 0x80
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_COMPRESSED: Final = 0x40
"""RSV1 on a message's first frame (RFC 7692, 6)."""
_RESERVED: Final = 0x70
NOT_AGREED: Final = "a compressed frame, though compression was not agreed on"
"""Why a connection ends whose library tells of reserved bits only (OCPP.Core issue 45)."""
_LONGEST_REASON: Final = 123
"""A control frame's payload has at most 125 bytes, two of which are the close code (RFC 6455, 5.5)."""


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a server's Close frame; a reason that is too long is cut at a character's border."""
    text = reason.encode()[:_LONGEST_REASON].decode(errors="ignore").encode()
    return bytes((_CLOSE, 2 + len(text))) + pack("!H", code) + text


def is_close(frame: bytes | bytearray | memoryview) -> bool:
    """Return whether a server's frame is a Close."""
    return frame[0] == _CLOSE


class Meter:
    """Follows the borders of a client's frames in a stream of bytes."""

    __slots__ = ("_header", "_left", "compressed", "declared", "frames", "in_message", "messages")

    def __init__(self) -> None:
        self.frames = 0
        """Whole frames so far."""
        self.messages = 0
        """Whole messages so far."""
        self.in_message = False
        """Whether a message has begun and is not whole."""
        self.declared = 0
        """Bytes of the message under way, counting what the newest frame header says is still to come."""
        self.compressed = False
        """Whether any message bore the mark of compression."""
        self._header = b""
        self._left = 0

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return self._left > 0 or bool(self._header)

    def feed(self, data: bytes, limit: int) -> bool:
        """Follow the next bytes; return False, and follow no further, once a message is longer than *limit*.

        Its length is what the frame headers declare: it is refused before it has come.
        """
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                if not self._left:
                    self._frame_ended()
                continue
            header = self._header + data[at : at + 14 - len(self._header)]
            length = _header_length(header)
            if length is None or length > len(header):
                self._header = header
                return True
            at += length - len(self._header)
            if not self._frame_began(header, length, limit):
                return False
        return True

    def _frame_began(self, header: bytes, length: int, limit: int) -> bool:
        first, second = header[0], header[1] & 0x7F
        masked = 4 if header[1] & _MASKED else 0
        self._left = second if second < 126 else int.from_bytes(header[2 : length - masked], "big")
        self._header = header[:1]
        if not first & _CONTROL:
            if first & _RESERVED == _COMPRESSED:
                self.compressed = True
            # A fragment without content costs us something, too: it counts for a byte.
            self.declared = (self.declared if self.in_message else 0) + (self._left or 1)
            self.in_message = True
            if self.declared > limit:
                return False
        if not self._left:
            self._frame_ended()
        return True

    def _frame_ended(self) -> None:
        first, self._header = self._header[0], b""
        self.frames += 1
        if first & _FIN and not first & _CONTROL:
            self.in_message = False
            self.messages += 1


def _header_length(header: bytes) -> int | None:
    """Return how long the frame header is that begins here; None while even that cannot be said."""
    if len(header) < 2:
        return None
    extended = {126: 2, 127: 8}.get(header[1] & 0x7F, 0)
    return 2 + extended + (4 if header[1] & _MASKED else 0)
