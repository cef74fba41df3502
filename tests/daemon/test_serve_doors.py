"""Where stations come in at the running daemon: either transport, and a plain listener beside one that speaks TLS."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
import trustme
from served import PATIENCE, serving
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


def hears_back(station: ClientConnection) -> bool:
    station.send('[2,"1","Heartbeat",{}]')
    answer = json.loads(station.recv(timeout=PATIENCE))
    return bool(answer[:2] == [3, "1"])


@pytest.mark.parametrize("transport", ["dense", "trio-websocket"])
def test_plain_and_tls_beside_each_other_on_either_transport(tmp_path: Path, transport: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    (tmp_path / "server.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "stationkeeper.toml").write_text(
        f'[stations]\ntransport = "{transport}"\ntls_listen = "127.0.0.1:0"\n'
        'tls_certificate = "server.pem"\ntls_key = "server.key"\n'
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    with serving(tmp_path, "--open") as served:
        plain, secured = served.ready()["stations"]
        protocols = [Subprotocol("ocpp1.6")]
        with (
            connect(f"{plain}/CP-1", subprotocols=protocols) as one,
            connect(f"{secured}/CP-2", subprotocols=protocols, ssl=trusting) as other,
        ):
            assert hears_back(one)
            assert hears_back(other)
            assert served.get("/chargestations/CP-2")[1]["online"]

    assert plain.startswith("ws://")
    assert secured.startswith("wss://")
