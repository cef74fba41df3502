"""The daemon behind HAProxy and nginx, each configured as `docs/how-to/put-it-behind-a-proxy.md` says."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from base64 import b64encode
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from raw_station import Rejected, frame, request
from served import PATIENCE, Served, plain_environment, serving, until

from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import HandshakeRefused
from stationkeeper.engine.log.reading import read_log

PAGE = Path(__file__).parents[2] / "docs/how-to/put-it-behind-a-proxy.md"
STATION = ("127.0.0.2", 0)
"""Where stations dial from: another address than that of the proxy."""


STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX_HTTP = "http {\naccess_log off;\n%s\n}"


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a proxy is not installed; in CI it must be."""
    absent = shutil.which(program) is None and "CI" not in os.environ
    return pytest.mark.skipif(absent, reason=f"{program} is not installed: apt install {program}")


def section(title: str) -> tuple[str, str]:
    """Return the daemon's settings and the proxy's configuration that stand under a title of the page."""
    text = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    settings = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    proxy = re.search(r"```(?:text|nginx)\n(.*?)```", text, re.DOTALL)
    assert proxy is not None
    return settings[1] if settings is not None else "", proxy[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Trial:
    """A daemon and a proxy in front, each on ports of its own."""

    def __init__(self, folder: Path, title: str, settings: str | None = None, *, more: str = "") -> None:
        self.folder = folder
        self.own, self.plain, self.tls = free_port(), free_port(), free_port()
        self.servers, self.stations = trustme.CA(), trustme.CA()
        found, proxy = section(title)
        (folder / "stationkeeper.toml").write_text(self._here(found if settings is None else settings) + more)
        self.proxy = self._here(proxy)
        issued = self.servers.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "server.key")
        for blob in [*issued.cert_chain_pems]:
            blob.write_to_path(folder / "server.pem", append=True)
        (folder / "both.pem").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        self.stations.cert_pem.write_to_path(folder / "stations-ca.pem")

    def _here(self, text: str) -> str:
        places = {
            "127.0.0.1:9001": f"127.0.0.1:{self.own}",
            ":9443": f"127.0.0.1:{self.tls}",
            ":9000": f"127.0.0.1:{self.plain}",
            "listen 9443": f"listen 127.0.0.1:{self.tls}",
            "/etc/haproxy/server.pem": f"{self.folder}/both.pem",
            "/etc/haproxy": str(self.folder),
            "/etc/nginx": str(self.folder),
        }
        for there, here in places.items():
            text = text.replace(there, here)
        return text

    def register(self, id: str, *options: str) -> str:
        command = [sys.executable, "-m", "stationkeeper", "station", "add", id, "--log", "x.db", "--format", "json"]
        done = subprocess.run(
            [*command, *options], cwd=self.folder, check=True, capture_output=True, env=plain_environment()
        )
        return str(json.loads(done.stdout).get("password"))

    @contextmanager
    def running(self, *command: str) -> Generator[Served]:
        """Run both for as long as the block lasts."""
        listens = ("--stations", f"127.0.0.1:{self.own}")
        with serving(self.folder, *listens) as served:
            served.ready()
            proxy = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                until(lambda: reaches(self.tls), "the proxy listens")
                yield served
                served.stop()
            finally:
                proxy.terminate()
                proxy.wait(PATIENCE)

    def haproxy(self) -> AbstractContextManager[Served]:
        (self.folder / "haproxy.cfg").write_text(self.proxy)
        return self.running("haproxy", "-f", "haproxy.cfg", "-db")

    def nginx(self, head: str, inside: str) -> AbstractContextManager[Served]:
        log = str(self.folder / "error.log")
        text = f"{head}\npid {self.folder}/nginx.pid;\nerror_log {log};\ndaemon off;\nevents {{}}\n"
        (self.folder / "nginx.conf").write_text(text + inside % self.proxy)
        return self.running("nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", log)

    @contextmanager
    def dial(
        self, id: str, password: str | None = None, *, user: str = "", tls: bool = True, named: str | None = None
    ) -> Generator[None]:
        """Dial the proxy as a station does, and stay while the block lasts; *named*: with a certificate in that name.

        Raises:
            Rejected: it was not let in.
        """
        extra = [] if password is None else [basic(user or id, password)]
        place = ("127.0.0.1", self.tls if tls else self.plain)
        # In one thread: a client with a reader in another one loses, now and then, what is sent amid TLS 1.3's tickets.
        with socket.create_connection(place, timeout=PATIENCE, source_address=STATION) as plain:
            sock = self._trusting(named).wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
            with sock:
                sock.sendall(request(f"/ocpp/{id}", extra=extra))
                status = int(sock.recv(4096).split(b" ")[1])
                if status != 101:
                    raise Rejected(status, {})
                yield
                sock.sendall(frame(struct.pack("!H", 1000), opcode=8))
                while sock.recv(4096):
                    pass

    def _trusting(self, named: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.servers.configure_trust(context)
        if named is not None:
            self.stations.issue_cert("x.invalid", common_name=named).configure_cert(context)
        return context

    def refused(self, *arguments: Any, **more: Any) -> int:
        """Dial, see that it is refused, and return the status."""
        with pytest.raises(Rejected) as caught, self.dial(*arguments, **more):
            pass
        return caught.value.status


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + b64encode(f"{user}:{password}".encode()).decode()


def refusals(folder: Path) -> list[str]:
    """Return the reasons of all refusals that the log holds, once the daemon has ended."""
    recorded = (decode(one) for one in read_log(folder / "x.db"))
    return [event.reason for event in recorded if isinstance(event, HandshakeRefused) for _ in range(event.count)]


def reaches(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def live(served: Served, id: str) -> Any:
    return served.get(f"/chargestations/{id}")[1]["live"]


@needs("haproxy")
@pytest.mark.parametrize("transport", ["dense", "trio-websocket"])
def test_behind_an_haproxy_that_ends_tls_profiles_and_addresses_are_known(tmp_path: Path, transport: str) -> None:
    trial = Trial(tmp_path, "HAProxy that ends TLS", more=f'transport = "{transport}"')
    plain = trial.register("CP-1", "--generate", "--profile", "1")
    password = trial.register("CP-2", "--generate", "--profile", "2")
    trial.register("CP-3", "--profile", "3")
    with trial.haproxy() as served:
        with trial.dial("CP-1", plain, tls=False), trial.dial("CP-2", password), trial.dial("CP-3", named="CP-3"):
            remotes = [live(served, id)["remote"] for id in ("CP-1", "CP-2", "CP-3")]
        wrong = [
            trial.refused("CP-1", plain),
            trial.refused("CP-2", password, tls=False),
            trial.refused("CP-3", named="CP-2"),
            trial.refused("CP-3"),
        ]

    assert remotes == [STATION[0]] * 3
    assert wrong == [403] * 4
    assert sorted(refusals(tmp_path)) == ["wrong_certificate"] + ["wrong_profile"] * 3  # and no health check


@needs("haproxy")
def test_behind_an_haproxy_that_passes_tls_on_the_daemon_checks_certificates(tmp_path: Path) -> None:
    trial = Trial(tmp_path, "HAProxy that passes TLS on", more='tls_client_ca = "stations-ca.pem"')
    password = trial.register("CP-2", "--generate", "--profile", "2")
    trial.register("CP-3", "--profile", "3")
    with trial.haproxy() as served:
        with trial.dial("CP-2", password), trial.dial("CP-3", named="CP-3"):
            remotes = [live(served, id)["remote"] for id in ("CP-2", "CP-3")]
        wrong = trial.refused("CP-3", named="CP-2")

    assert remotes == [STATION[0]] * 2
    assert wrong == 403


@needs("haproxy")
def test_a_proxy_that_says_nothing_of_its_stations_is_found_out(tmp_path: Path) -> None:
    trial = Trial(tmp_path, "HAProxy that ends TLS")
    trial.proxy = trial.proxy.replace("send-proxy-v2-ssl-cn", "send-proxy").replace("check", "")
    with trial.haproxy():
        assert trial.refused("CP-1") == 400

    assert refusals(tmp_path) == ["malformed_proxy_header"]


@needs("nginx")
def test_behind_nginx_as_an_http_proxy_stations_come_in_by_any_id(tmp_path: Path) -> None:
    trial = Trial(tmp_path, "nginx as an HTTP proxy")
    password = trial.register("a b/c", "--generate", "--profile", "2")
    with trial.nginx("", NGINX_HTTP) as served:
        with trial.dial("a%20b%2Fc", password, user="a b/c"):
            assert live(served, "a%20b%2Fc")["remote"] == "127.0.0.1"
        assert trial.refused("CP-9") == 404


@needs("nginx")
def test_an_nginx_that_passes_no_upgrade_on_is_found_out(tmp_path: Path) -> None:
    trial = Trial(tmp_path, "nginx as an HTTP proxy")
    trial.proxy = re.sub(r"proxy_set_header (Upgrade|Connection).*", "", trial.proxy)
    with trial.nginx("", NGINX_HTTP):
        assert trial.refused("CP-1") == 426

    assert refusals(tmp_path) == ["not_websocket"]


@needs("nginx")
def test_behind_an_nginx_that_passes_tcp_on_the_daemon_ends_tls(tmp_path: Path) -> None:
    if not STREAM.exists() and "CI" not in os.environ:
        pytest.skip("nginx has no stream module: apt install libnginx-mod-stream")
    trial = Trial(
        tmp_path, "nginx that passes TCP on", "[stations]\ntls_certificate = 'server.pem'\ntls_key = 'server.key'"
    )
    password = trial.register("CP-2", "--generate", "--profile", "2")
    with trial.nginx(f"load_module {STREAM};", "%s") as served, trial.dial("CP-2", password):
        assert live(served, "CP-2")["remote"] == "127.0.0.1"
