"""TLS that HAProxy ends in front of the dense transport, and says over the PROXY protocol (version 2) who calls.

What it costs beside TLS in the transport itself (`tls`): CPU of a handshake and memory of a connection, of HAProxy, of
ours behind it, and of both. Left out where there is no HAProxy (Debian: apt install haproxy).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from crowd import Crowd
from fleet import PASSWORD, stations
from machine import cpu_seconds, keep_to_core, resident_bytes, slope
from result import Result, report
from sides import DENSE, SERVER_CORE, grounds, present
from tls import AT_ONCE, SIZES, VERSIONS, client_context, made_certificate

from daemon import free_port

PART = "proxied"
CONFIGURATION = """
global
    maxconn 6000
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend stations
    bind 127.0.0.1:{port} ssl crt {certificate}
    default_backend stationkeeper
backend stationkeeper
    server one 127.0.0.1:{behind} send-proxy-v2
"""


@contextmanager
def haproxy(folder: Path, certificate: Path, behind: int) -> Iterator[tuple[int, int]]:
    """Run HAProxy before a port; yield its process id and its own port."""
    port, file = free_port(), folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, certificate=certificate, behind=behind))
    with subprocess.Popen(["haproxy", "-f", str(file), "-db"]) as process:
        keep_to_core(SERVER_CORE, process.pid)
        time.sleep(1.0)
        try:
            yield process.pid, port
        finally:
            process.kill()


def spent(measured: Callable[[int], float], processes: Sequence[int]) -> list[float]:
    return [measured(process) for process in processes]


def main() -> None:
    if shutil.which("haproxy") is None:
        print("proxied is left out: there is no haproxy (Debian: apt install haproxy)", file=sys.stderr)
        return
    if not present(DENSE):
        return
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name, grounds(SIZES[-1]) as ground:
        certificate = made_certificate(Path(name))
        for version, number in VERSIONS.items():
            with (
                ground.serving(DENSE, more=("--proxied",)) as server,
                haproxy(Path(name), certificate, server.port) as (proxy, port),
                Crowd(("127.0.0.1", port), PASSWORD, tls=client_context(number)) as crowd,
            ):
                processes = (proxy, server.pid)
                crowd.connect(stations(SIZES[0]), at_once=AT_ONCE)
                before, points = spent(cpu_seconds, processes), [spent(resident_bytes, processes)]
                for first, size in pairwise(SIZES):
                    crowd.connect(stations(size - first, first), at_once=AT_ONCE)
                    crowd.stay(0.1)
                    points.append(spent(resident_bytes, processes))
                after = spent(cpu_seconds, processes)
            each = [(late - early) / (SIZES[-1] - SIZES[0]) * 1e6 for early, late in zip(before, after, strict=True)]
            memory = [slope(list(zip(SIZES, row, strict=True))) / 1e3 for row in zip(*points, strict=True)]
            note = "HAProxy {:.0f}, ours {:.0f}"
            handshake, connection = f"{version}: handshake", f"{version}: memory"
            results += [
                Result(part=PART, name=handshake, value=sum(each), unit="us CPU", note=note.format(*each)),
                Result(part=PART, name=connection, value=sum(memory), unit="kB", note=note.format(*memory)),
            ]
    report(results)


if __name__ == "__main__":
    main()
