"""Which runs have begun and not ended: the engine's own small projection, for finding the lost at a start."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .entry import Recorded
from .events import Event, GatewayLost, GatewayStarted, GatewayStopped
from .fold import Below, Projection


def _apply(running: dict[str, str], recorded: Recorded, event: Event, below: Below) -> Sequence[str]:
    match event:
        case GatewayStarted():
            running[recorded.id] = recorded.gateway
        case GatewayStopped():
            running.pop(recorded.run, None)
        case GatewayLost():
            running.pop(event.run, None)
        case _:
            return ()
    return (recorded.run,)


runs: Projection[dict[str, str], str] = Projection(
    name="runs",
    version=1,
    kinds=frozenset({GatewayStarted.kind, GatewayStopped.kind, GatewayLost.kind}),
    initial=dict,
    apply=_apply,
    dump=msgspec.json.Encoder(order="sorted").encode,
    load=msgspec.json.Decoder(dict[str, str]).decode,
)
"""Running runs -> their gateway's name. A change is the run that an event came from."""
