"""Which version of OCPP is spoken on a connection."""

from __future__ import annotations

from collections.abc import Sequence

from ..admission import SUBPROTOCOLS, Subprotocol


def choose(offered: Sequence[str], default: Subprotocol | None) -> Subprotocol | None:
    """Return the first offered subprotocol that we speak; if none at all is offered, the station's default."""
    if not offered:
        return default
    return next((known for name in offered for known in SUBPROTOCOLS if known == name), None)
