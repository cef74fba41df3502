"""What a connection says and hears while it is awake: frames into messages, and bytes that wait to be written.

Theory of operation. `websockets`' sans-IO protocol takes 4 kB a connection, and most stations are silent most of the
time. So a `Speech` is made when bytes come that are more than a lone ping or pong, and dropped as soon as nothing is
under way: no frame, no message, nothing to write, nothing to handle. No state is needed from one message to the next.
"""

from __future__ import annotations

import codecs
from collections import deque
from typing import Final

import trio
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from ...engine.stations import Ending
from ..bounds import Bounds, Progress
from ..frames import NOT_AGREED, Meter, close_frame
from ..handshake.deflate import Inflation

_NO_STATUS: Final = 1005
_NOT_TEXT: Final = Ending(side="gateway", cause="protocol_error", code=1003, reason="OCPP-J is text")
_NOT_UTF8: Final = Ending(side="gateway", cause="protocol_error", code=1007, reason="a text message is not UTF-8")
_Decoder: Final = codecs.getincrementaldecoder("utf-8")


class Speech:
    """One connection's frames, messages and unwritten bytes."""

    __slots__ = (
        "_bounds",
        "_decoder",
        "_deflate",
        "_parts",
        "_protocol",
        "_unreadable",
        "drained",
        "meter",
        "out",
        "progress",
        "scope",
        "texts",
    )

    def __init__(self, bounds: Bounds, *, deflate: bool) -> None:
        self.meter = Meter()
        self.progress = Progress()
        self.out = bytearray()
        """What the socket would not take yet."""
        self.drained = trio.Event()
        """Set once it took all, or the connection has ended."""
        self.texts: deque[str] = deque()
        """Messages that wait to be handled."""
        self.scope: trio.CancelScope | None = None
        """Around the task that handles them, while there is one."""
        self._bounds = bounds
        self._deflate = deflate
        # The meter bounds what comes; the library's own bound, which a ping amid a long message meets too, is for what
        # becomes of it when it is inflated.
        self._protocol = Protocol(Side.SERVER, max_size=bounds.message if deflate else None)
        if deflate:
            self._protocol.extensions = [Inflation()]
        self._decoder = _Decoder()
        self._parts: list[str] = []
        self._unreadable = _NOT_UTF8
        """How the connection ends if the message under way is no text."""

    @property
    def over(self) -> bool:
        """Whether nothing is under way, so that this may be dropped."""
        return not (self.out or self.texts or self.scope is not None or self.meter.in_frame or self.meter.in_message)

    def wake(self) -> None:
        """Wake whoever waits for `out` to be written."""
        self.drained.set()
        self.drained = trio.Event()

    def close(self) -> None:
        """Break the reference cycle between the library's protocol and its parser, which nobody else would for long."""
        self._protocol.parser.close()
        del self._protocol.parser

    def hear(self, data: bytes) -> tuple[bytes, Ending | None]:
        """Take the next bytes; return what is to be answered, and how the connection ends if they end it.

        Whole messages are added to `texts`.
        """
        if not self.meter.feed(data, self._bounds.message):
            reason = f"a message has at most {self._bounds.message} bytes"
            return b"", Ending(side="gateway", cause="message_too_big", code=1009, reason=reason)
        protocol = self._protocol
        protocol.receive_data(data)
        ending = None
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            ending = ending or self._take(frame)
        return self._answer(ending)

    def _answer(self, ending: Ending | None) -> tuple[bytes, Ending | None]:
        protocol = self._protocol
        if ending is not None:
            return b"", ending
        if (received := protocol.close_rcvd) is not None:
            # Also a Close amid a fragmented message, which the library takes for an error and RFC 6455, 5.5.1 allows.
            silent = received.code == _NO_STATUS
            echo = b"\x88\x00" if silent else close_frame(received.code, received.reason)
            code = None if silent else int(received.code)
            return echo, Ending(side="station", cause="station_closed", code=code, reason=received.reason)
        if (error := protocol.parser_exc) is not None:
            return b"", self._unbearable(error)
        return b"".join(protocol.data_to_send()), None

    def _unbearable(self, error: Exception) -> Ending:
        """Return how the connection ends because of what the library could not bear."""
        if isinstance(error, PayloadTooBig):
            reason = f"a message has at most {self._bounds.message} bytes, compressed or not"
            return Ending(side="gateway", cause="message_too_big", code=1009, reason=reason)
        sent = self._protocol.close_sent
        code, reason = (1002, str(error)) if sent is None else (int(sent.code), sent.reason)
        if code == 1002 and self.meter.compressed and not self._deflate:
            reason = NOT_AGREED
        return Ending(side="gateway", cause="protocol_error", code=code, reason=reason)

    def _take(self, frame: Frame) -> Ending | None:
        """Take a frame; return how the connection ends if it cannot be borne."""
        if frame.opcode is Opcode.TEXT:
            self._unreadable = _NOT_UTF8
        elif frame.opcode is Opcode.BINARY:
            self._unreadable = _NOT_TEXT  # a few chargers send their JSON in binary frames: it is text if it is UTF-8
        elif frame.opcode is not Opcode.CONT:
            return None
        try:
            self._parts.append(self._decoder.decode(bytes(frame.data), frame.fin))
        except UnicodeDecodeError:
            return self._unreadable
        if frame.fin:
            self.texts.append("".join(self._parts))
            self._parts.clear()
            if len(self.texts) > self._bounds.waiting:
                reason = f"more than {self._bounds.waiting} messages wait to be handled"
                return Ending(side="gateway", cause="overrun", code=1008, reason=reason)
        return None
