"""permessage-deflate (RFC 7692): what is agreed on with a station that offers it, and how its messages are inflated.

A CSMS for OCPP 2.0.1 and 2.1 has to know it (OCPP-J 2.0.1, 3.3). Nothing is kept from one message to the next, in
either direction, so that a connection which is silent costs what one without it does; and what we send is not
compressed, as each message may choose (RFC 7692, 6): answers are short, and a window to write them takes 256 kB.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from websockets.exceptions import InvalidHeaderFormat, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

_WINDOW: Final = 12
"""Bits of the window that stations are asked for, where they say that they can be: 4 kB holds any usual message."""
_OURS: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, client_max_window_bits=_WINDOW
)
_TAIL: Final = b"\x00\x00\xff\xff"
"""What a sender leaves out at the end of each message (RFC 7692, 7.2.1)."""
_WIDEST: Final = -15
"""Raw deflate with any window: a station that does not keep to the one agreed on is understood as well."""
_CORRUPT: Final = "compressed data is corrupt"


def agree(offered: str) -> str | None:
    """Return the `Sec-WebSocket-Extensions` to answer; None to say nothing, and go on without.

    *offered* is all that the station's request has under that name. What is malformed or cannot be met is declined,
    never an error (RFC 7692, 5.1): the station speaks on uncompressed.
    """
    try:
        offers = parse_extension(offered)
    except InvalidHeaderFormat:
        return None
    for name, wanted in offers:
        if name == _OURS.name:
            try:
                agreed, _ = _OURS.process_request_params(wanted, ())
            except NegotiationError:
                continue
            return build_extension([(name, agreed)])
    return None


class Inflation(Extension):
    """What was agreed on, for the messages of one connection: to be made anew whenever no message is under way.

    The library's own extension would compress what we send, and drops in silence what follows a final block, with
    which some senders end each frame (RFC 7692, 7.2.3.4).
    """

    __slots__ = ("_decoder",)

    name = ExtensionName("permessage-deflate")

    def __init__(self) -> None:
        self._decoder: Any = None
        """A `zlib.decompressobj` while a compressed message is under way."""

    def encode(self, frame: Frame) -> Frame:
        """Leave what we send as it is."""
        return frame

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Inflate a frame of a compressed message; return any other as it is.

        Raises:
            PayloadTooBig: it would become longer than *max_size*; no more of it than that was inflated.
            ProtocolError: what it bears is not compressed data.
        """
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is not Opcode.CONT:
            self._decoder = zlib.decompressobj(_WIDEST) if frame.rsv1 else None
        elif frame.rsv1:
            return frame  # its check fails: only the first frame of a message may be marked
        if self._decoder is None:
            return frame
        data = self._inflate(bytes(frame.data) + (_TAIL if frame.fin else b""), max_size)
        if frame.fin:
            self._decoder = None
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    def _inflate(self, data: bytes, limit: int | None) -> bytes:
        inflated: bytes = b""
        for _ in range(3):  # a final block may end each frame, and what is left out at the end may follow it
            if self._decoder is None or self._decoder.eof:
                self._decoder = zlib.decompressobj(_WIDEST)
            try:
                inflated += self._decoder.decompress(data, 0 if limit is None else limit + 1 - len(inflated))
            except zlib.error:
                raise ProtocolError(_CORRUPT) from None
            if limit is not None and len(inflated) > limit:
                raise PayloadTooBig(None, limit)
            data = self._decoder.unused_data
            if not data:
                return inflated
        raise ProtocolError(_CORRUPT)
