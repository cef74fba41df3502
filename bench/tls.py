"""TLS: memory of a connection, and CPU of an authenticated handshake, when the server ends TLS itself.

Ours, dense, on OpenSSL over raw sockets, beside trio-websocket over `trio.SSLStream`; both with the same ECDSA P-256
certificate, in TLS 1.3 and in 1.2. Ours also writes a durable event. No session is resumed.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import trustme
from attrs import frozen
from crowd import Crowd
from fleet import PASSWORD, stations
from machine import cpu_seconds, resident_bytes, slope
from result import Result, ratio, report
from sides import DENSE, HARDENED, PLAIN, Grounds, Side, grounds, present

PART = "tls"
QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK else 2
SIZES = (300, 600, 1_000, 1_500)
AT_ONCE = 200
VERSIONS = {"TLS 1.3": ssl.TLSVersion.TLSv1_3, "TLS 1.2": ssl.TLSVersion.TLSv1_2}


@frozen
class Cost:
    """What TLS costs a server."""

    handshake: float
    """CPU seconds, authentication and upgrade included."""
    connection: float
    """Bytes of resident memory."""


def cost(ground: Grounds, side: Side, certificate: Path, client: ssl.SSLContext) -> Cost:
    more = ("--tls", str(certificate))
    with (
        ground.serving(side, more=more) as server,
        Crowd(("127.0.0.1", server.port), PASSWORD, tls=client) as crowd,
    ):
        crowd.connect(stations(SIZES[0]), at_once=AT_ONCE)
        points: list[tuple[float, float]] = [(SIZES[0], resident_bytes(server.pid))]
        before = cpu_seconds(server.pid)
        for first, size in pairwise(SIZES):
            crowd.connect(stations(size - first, first), at_once=AT_ONCE)
            crowd.stay(0.1)
            points.append((size, resident_bytes(server.pid)))
        spent = cpu_seconds(server.pid) - before
    return Cost(spent / (SIZES[-1] - SIZES[0]), slope(points))


def made_certificate(folder: Path) -> Path:
    """Return a file with certificate and key: trustme's default, ECDSA P-256."""
    leaf = trustme.CA().issue_cert("127.0.0.1")
    file = folder / "certificate.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


def client_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a context of a client that believes anybody: what it saves, it has for calling more often."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def main() -> None:
    sides = present(DENSE, HARDENED, PLAIN)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, grounds(SIZES[-1]) as ground:
        certificate = made_certificate(Path(folder))
        for name, version in VERSIONS.items():
            client = client_context(version)
            rounds = [{side: cost(ground, side, certificate, client) for side in sides} for _ in range(ROUNDS)]
            handshakes = {side: [costs[side].handshake for costs in rounds] for side in sides}
            for side in sides:
                memory = [costs[side].connection for costs in rounds]
                most = 20.0 if side is DENSE else None
                results += [
                    Result.of(PART, f"{name}, {side.name}: handshake", handshakes[side], unit="us CPU", scale=1e6),
                    Result.of(PART, f"{name}, {side.name}: memory", memory, unit="kB", scale=1e-3, at_most=most),
                ]
            if DENSE in sides:
                above, below = f"{name}, handshake, {PLAIN.name}", DENSE.name
                results.append(ratio(PART, above, handshakes[PLAIN], below, handshakes[DENSE], at_least=2.0))
    report(results)


if __name__ == "__main__":
    main()
