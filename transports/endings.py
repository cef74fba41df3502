"""How connections end that both WebSocket transports end alike, and how long their ends may take."""

from __future__ import annotations

from typing import Final

from ..engine.stations import Ending

LOST: Final = Ending(side="network", cause="network_lost")
ABORTED: Final = Ending(side="network", cause="handshake_aborted")
FAULT: Final = Ending(side="gateway", cause="internal_error", code=1011, reason="internal error")

LINGER: Final = 1.0
"""Seconds that a peer has, after our last word, to close its side."""
DRAIN: Final = 10.0
"""Seconds in which messages that came before the peer's end may still be handled."""
