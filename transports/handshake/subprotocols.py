"""Which version of OCPP is spoken on a connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..admission import SUBPROTOCOLS, Subprotocol

_KNOWN: Final[dict[str, Subprotocol]] = {name: name for name in SUBPROTOCOLS}
_OFFER_SHOWN: Final = 50
"""Characters of a station's offer that a hint tells: it may fill a head, and a hint is kept up to 200 characters."""
_DIGITS: Final = re.compile(r"[^0-9]")
_MEANT: Final[dict[str, Subprotocol]] = {"16": "ocpp1.6", "201": "ocpp2.0.1", "21": "ocpp2.1"}
_OLD: Final = {"12", "15"}


def choose(offered: Sequence[str], default: Subprotocol | None, *, lenient: bool = False) -> Subprotocol | None:
    """Return the first offered subprotocol that we speak, in whatever capitals; None if there is none.

    A station that offers nothing speaks its *default*. A *lenient* eye takes one that offers only foreign ones for a
    station that offers nothing.
    """
    for name in offered:
        known = _KNOWN.get(name) or _KNOWN.get(name.lower())
        if known is not None:
            return known
    return None if offered and not lenient else default


def as_offered(offered: Sequence[str], chosen: Subprotocol) -> str | None:
    """Return a chosen subprotocol as the station wrote it, which is how the 101 must name it (RFC 6455, 4.1); None,
    for the 101 to name none, if it did not offer it."""
    if chosen in offered:
        return chosen
    return next((name for name in offered if name.lower() == chosen), None)


def why_none(offered: Sequence[str]) -> str:
    """Tell a technician why a station's offer does not do."""
    if not offered:
        return "it offers no subprotocol (Sec-WebSocket-Protocol); register the one that it speaks, and it is let in"
    offer = ", ".join(offered)
    if len(offer) > _OFFER_SHOWN:
        offer = offer[:_OFFER_SHOWN] + "..."
    return f"it offers {offer}; we speak ocpp1.6, ocpp2.0.1 and ocpp2.1{_advice(offered)}"


def _advice(offered: Sequence[str]) -> str:
    """Say which of ours may be meant. Names are compared by their digits: `OCPP16J` is `ocpp1.6`."""
    versions = [_DIGITS.sub("", name) for name in offered if "ocpp" in name.lower()]
    for digits in versions:
        if digits in _MEANT:
            return f"; {_MEANT[digits]} seems to be meant: set that, or forgive it (lenient: subprotocol)"
    if "20" in versions:
        return "; ocpp2.0 was withdrawn for ocpp2.0.1: the station needs a newer firmware"
    if _OLD & set(versions):
        return "; it is set to an old version: set OCPP 1.6 JSON, or give it a newer firmware"
    return ""
