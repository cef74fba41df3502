"""Where stations come in: the transports that the configuration asks for."""

from __future__ import annotations

from typing import Final

from ..engine.stations import OnMessage
from ..transports import DenseStations, WebSocketStations
from ..transports.admission import Admit
from ..transports.gate.gate import Gate
from .configuration.config import StationsSection
from .configuration.units import Address
from .tls import StationTls

_TRANSPORTS: Final[dict[str, type[DenseStations | WebSocketStations]]] = {
    "dense": DenseStations,
    "trio-websocket": WebSocketStations,
}


def open_doors(
    stations: StationsSection, *, admit: Admit, on_message: OnMessage, tls: StationTls | None, gate: Gate
) -> list[DenseStations | WebSocketStations]:
    """Return the transports, unopened: one, or with `tls_listen` a plain one and then one that speaks TLS.

    The first one's address is the run's public URL, unless that is set.
    """

    def door(listen: Address, tls: StationTls | None) -> DenseStations | WebSocketStations:
        return _TRANSPORTS[stations.transport](
            str(listen),
            admit=admit,
            on_message=on_message,
            path=stations.path,
            public_url=stations.public_url,
            tls=tls,
            max_message=stations.max_message,
            compression=stations.compression,
            handshake_timeout=stations.handshake_timeout,
            max_handshakes=stations.max_handshakes,
            origins=stations.origins,
            trusted_proxies=stations.trusted_proxies if stations.proxy_protocol else (),
            gate=gate,
        )

    if stations.tls_listen is None:
        return [door(stations.listen, tls)]
    return [door(stations.listen, None), door(stations.tls_listen, tls)]
