"""Compressed messages for a WebSocket library that knows none: its wire hands on plain ones in their place."""

from __future__ import annotations

from collections.abc import Generator
from struct import pack
from typing import Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import CTRL_OPCODES, Frame
from websockets.streams import StreamReader

from ...engine.stations import Ending
from ..handshake.deflate import Inflation

_CONTROL: Final = 125
"""Bytes that a control frame may bear, however little is left for the message under way (RFC 6455, 5.5)."""


class Inflater:
    """Frames in, the same frames out, and nothing compressed among them.

    It holds one frame of the station until that is whole; the `Meter` beside it bounds how long and how late.
    """

    __slots__ = ("_limit", "_parser", "_plain", "_reader", "fault")

    def __init__(self, limit: int) -> None:
        """*limit*: bytes that a message may have, inflated."""
        self.fault: Ending | None = None
        """How the connection ends, because of what was fed last. What came before that was handed on."""
        self._limit = limit
        self._reader = StreamReader()
        self._plain = bytearray()
        self._parser = _parse(self._reader, self._plain, limit)

    def feed(self, data: bytes) -> bytes:
        """Return the frames that are whole with the next bytes, as a client's frames. It may be none."""
        self._reader.feed_data(data)
        try:
            next(self._parser)
        except PayloadTooBig:
            reason = f"a message has at most {self._limit} bytes, compressed or not"
            self.fault = Ending(side="gateway", cause="message_too_big", code=1009, reason=reason)
        except ProtocolError as error:
            self.fault = Ending(side="gateway", cause="protocol_error", code=1002, reason=str(error))
        plain = bytes(self._plain)
        self._plain.clear()
        return plain


def _parse(reader: StreamReader, plain: bytearray, limit: int) -> Generator[None]:
    """Move frames from *reader* to *plain*, inflated; yield whenever more bytes are needed."""
    extensions = [Inflation()]
    size = 0
    while True:
        most = max(limit - size, _CONTROL)
        frame = yield from Frame.parse(reader.read_exact, mask=True, max_size=most, extensions=extensions)
        if frame.opcode not in CTRL_OPCODES:
            size += len(frame.data)
            if size > limit:
                raise PayloadTooBig(size, limit)
            if frame.fin:
                size = 0
        plain += _masked(frame)
        del frame  # the next one may be long in coming


def _masked(frame: Frame) -> bytes:
    """Return the frame as a client writes it, under a mask that changes nothing."""
    length = len(frame.data)
    head = bytes((frame.fin << 7 | frame.opcode,))
    if length < 126:
        head += bytes((0x80 | length,))
    elif length < 65_536:
        head += pack("!BH", 0xFE, length)
    else:
        head += pack("!BQ", 0xFF, length)
    return head + b"\0\0\0\0" + frame.data
