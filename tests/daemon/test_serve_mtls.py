"""Client certificates at the running daemon: as the configuration says, and changed by a hangup."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from served import PATIENCE, plain_environment, serving
from websockets.exceptions import InvalidStatus

CONFIGURATION = """[stations]
tls_certificate = "server.pem"
tls_key = "server.key"
tls_certificate_rsa = "rsa.pem"
tls_key_rsa = "rsa.key"
tls_client_ca = "stations.pem"
tls_client_organization = "Ours Ltd"
security = "mtls"
"""


def write(folder: Path, server: trustme.CA, stations: trustme.CA) -> None:
    for name, kind in (("server", trustme.KeyType.ECDSA), ("rsa", trustme.KeyType.RSA)):
        issued = server.issue_cert("127.0.0.1", key_type=kind)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    stations.cert_pem.write_to_path(folder / "stations.pem")


def showing(server: trustme.CA, stations: trustme.CA, organization: str = "Ours Ltd") -> ssl.SSLContext:
    context = ssl.create_default_context()
    server.configure_trust(context)
    issued = stations.issue_cert("cp-7.invalid", common_name="CP-7", organization_name=organization)
    issued.configure_cert(context)
    return context


def test_certificates_are_asked_for_and_changed_by_a_hangup_under_a_station_that_stays(tmp_path: Path) -> None:
    server, stations, others = trustme.CA(), trustme.CA(), trustme.CA()
    write(tmp_path, server, stations)
    (tmp_path / "stationkeeper.toml").write_text(CONFIGURATION)
    add = [sys.executable, "-m", "stationkeeper", "station", "add", "CP-7", "--generate", "--log", "x.db"]
    subprocess.run(add, cwd=tmp_path, check=True, capture_output=True, env=plain_environment())
    anybody = ssl.create_default_context()
    server.configure_trust(anybody)

    with serving(tmp_path) as served:
        with pytest.raises(InvalidStatus) as nothing, served.dial("CP-7", b"whatever", ssl=anybody):
            pass
        with pytest.raises(InvalidStatus) as theirs, served.dial("CP-7", ssl=showing(server, stations, "Theirs")):
            pass
        with served.dial("CP-7", ssl=showing(server, stations)) as station:
            write(tmp_path, server, others)
            served.process.send_signal(signal.SIGHUP)
            assert "certificate" in served.line("reloaded")["what"]
            station.send('[2,"1","Heartbeat",{}]')
            answered = json.loads(station.recv(timeout=PATIENCE))
            with served.dial("CP-7", ssl=showing(server, others)) as again:
                again.send('[2,"2","Heartbeat",{}]')
                answered_again = json.loads(again.recv(timeout=PATIENCE))
        code = served.stop()

    assert (nothing.value.response.status_code, theirs.value.response.status_code) == (403, 403)
    assert (answered[:2], answered_again[:2]) == ([3, "1"], [3, "2"])
    assert code == 0
