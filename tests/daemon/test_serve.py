"""The daemon as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from websockets.exceptions import ConnectionClosed as Closed
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.events import ConnectionClosed, GatewayStarted, StationRemoved
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.secrets import open_secrets
from stationkeeper.engine.log.sqlite import SqliteLog

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a process may take for what takes it a fraction of one."""


class Served:
    """A daemon in a process of its own, and what it says."""

    def __init__(self, folder: Path, *flags: str, environ: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "stationkeeper", "serve", "--log", "x.db"]
        command += ["--stations", "127.0.0.1:0", "--http", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})}
        )
        self.said: list[dict[str, Any]] = []
        self._ears = threading.Thread(target=self._listen, daemon=True)
        self._ears.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(json.loads(line) if line.startswith("{") else {"event": line.strip()})

    def line(self, event: str) -> dict[str, Any]:
        """Wait until the daemon says something, and return it."""

        def found() -> dict[str, Any]:
            alive = self._ears.is_alive()
            said: dict[str, Any] = next((line for line in self.said if line["event"] == event), {})
            assert said or alive, f"it ended, and said {self.said}"
            return said

        return until(found, f"it says {event!r}")

    def ready(self) -> dict[str, Any]:
        return self.line("ready")

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the API."""
        try:
            with urllib.request.urlopen(self.ready()["http"] + path, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def dial(self, id: str, password: bytes | None = None, **more: Any) -> ClientConnection:
        """Connect as a station does."""
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + b64encode(id.encode() + b":" + password).decode()
        url = f"{self.ready()['stations'][0]}/{id}"
        station: ClientConnection = connect(
            url, subprotocols=[Subprotocol("ocpp1.6")], additional_headers=headers, **more
        )
        return station

    def wait(self) -> int:
        """Return the exit code, once the process has ended and all that it said is here."""
        code = self.process.wait(PATIENCE)
        self._ears.join(PATIENCE)
        return code

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


def until(found: Callable[[], T], what: str) -> T:
    """Wait for something, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, f"waited {PATIENCE} s until {what}"
        time.sleep(0.02)
    return value


@contextmanager
def serving(folder: Path, *flags: str, **more: Any) -> Iterator[Served]:
    served = Served(folder, *flags, **more)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.wait()


def kinds(folder: Path) -> list[str]:
    return [recorded.kind for recorded in read_log(folder / "x.db")]


def register(folder: Path, id: str) -> str:
    """Register a station in a log that nobody serves, and return its password."""
    command = [sys.executable, "-m", "stationkeeper", "station", "add", id, "--generate", "--log", "x.db"]
    done = subprocess.run(
        [*command, "--format", "json"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return str(json.loads(done.stdout)["password"])


# --- start and end ---------------------------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_answers_there(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        said = served.ready()

        assert said["stations"][0].startswith("ws://127.0.0.1:")
        assert said["http"].startswith("http://127.0.0.1:")
        assert served.get("/readyz")[0] == 200
        assert served.get("/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-7") as station:
        served.process.send_signal(number)
        with pytest.raises(Closed) as caught:
            station.recv(timeout=PATIENCE)
        code = served.wait()
    *_, closed, stopped = read_log(tmp_path / "x.db")
    event = decode(closed)

    assert code == 0
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    assert isinstance(event, ConnectionClosed)
    assert event.cause == "shutdown"
    assert stopped.kind == "gateway.stopped"


def test_a_second_signal_cuts_the_stop_short_and_the_next_start_finds_the_run_lost(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}"
        (tmp_path / "stationkeeper.toml").write_text(
            "[webhooks]\nallow_http = true\nallow_private_networks = true\n"
            f'[[webhook]]\nname = "hangs"\nurl = "{url}"\nsecret_file = "a.secret"\n'
        )
        with serving(tmp_path, "--open") as served, served.dial("CP-7"):
            message, _ = receiver.accept()  # and nobody answers it: an orderly stop waits for a while
            with message:
                served.process.send_signal(signal.SIGTERM)
                served.line("stopping")
                readiness, liveness = served.get("/readyz")[0], served.get("/healthz")[0]
                asked = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                code = served.wait()
                took = time.monotonic() - asked
        before = kinds(tmp_path)
        with serving(tmp_path, "--hold") as again:
            again.ready()
            again.stop()

    assert (readiness, liveness, code) == (503, 200, 0)
    assert took < 10
    assert "gateway.stopped" not in before
    assert kinds(tmp_path)[len(before) :][0] == "gateway.lost"


def test_after_a_kill_the_station_is_held_and_comes_back_without_a_flip(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-7"):
        until(lambda: served.get("/chargestations/CP-7")[1].get("online"), "it is online")
        served.process.kill()
        assert served.wait() == -signal.SIGKILL
    with serving(tmp_path, "--open") as again:
        held = again.get("/chargestations/CP-7")[1]
        with again.dial("CP-7"):
            back = until(lambda: (now := again.get("/chargestations/CP-7")[1])["observed"] and now, "it is back")
            again.stop()

    assert (held["online"], held["observed"], held["version"]) == (True, False, 1)
    assert (back["online"], back["observed"], back["version"]) == (True, True, 1)
    assert "gateway.lost" in kinds(tmp_path)


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        until(lambda: (tmp_path / "x.db.lock").exists(), "it has begun")
        served.process.send_signal(signal.SIGTERM)

        assert served.wait() == 0


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_a_log_that_is_served_is_locked_and_the_holder_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        first.ready()
        with serving(tmp_path) as second:
            code = second.wait()

        assert code == 3
        (line,) = second.said
        assert f"process {first.process.pid}" in line["event"]
        assert first.get("/readyz")[0] == 200


@pytest.mark.parametrize("flag", ["--stations", "--http"])
def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving(tmp_path, flag, address) as served:
            code = served.wait()

    assert code == 2
    (line,) = served.said
    assert address in line["event"]
    assert "Error: " in line["event"]


def foreign(folder: Path) -> None:
    (folder / "x.db").write_bytes(b"no database at all" * 100)


def newer(folder: Path) -> None:
    SqliteLog.open(folder / "x.db").close()
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(folder: Path) -> None:
    SqliteLog.open(folder / "x.db").close()
    content = (folder / "x.db").read_bytes()
    (folder / "x.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def from_the_future(folder: Path) -> None:
    log = SqliteLog.open(folder / "x.db")
    log.append([seal(StationRemoved(), id="later", at=time.time_ns() // 1000 + 3_600_000_000)])
    log.close()
    secrets = open_secrets(folder / "x.db", log.log_id, create=True)
    assert secrets is not None
    secrets.close()


def unknown_key(folder: Path) -> None:
    (folder / "stationkeeper.toml").write_text('[stations]\nlissten = "x"\n')


def no_token(folder: Path) -> None:
    (folder / "tokens").write_text("# nobody\n")


def missing_certificate(folder: Path) -> None:
    (folder / "stationkeeper.toml").write_text('[stations]\ntls_certificate = "a.pem"\ntls_key = "a.key"\n')


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (foreign, 3, "x.db"),
        (newer, 3, "newer release"),
        (damaged, 3, "damaged"),
        (from_the_future, 3, "--accept-clock"),
        (unknown_key, 2, "did you mean listen?"),
        (no_token, 2, "holds no token"),
        (missing_certificate, 2, "a.pem does not exist"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], code: int, told: str
) -> None:
    spoil(tmp_path)
    with serving(tmp_path) as served:
        assert served.wait() == code
    (line,) = served.said
    assert told in line["event"]


def test_without_tokens_the_api_stays_on_this_machine(tmp_path: Path) -> None:
    with serving(tmp_path, "--http", "0.0.0.0:0") as served:
        assert served.wait() == 2
    (line,) = served.said
    assert "token_file" in line["event"]


def test_a_clock_that_is_right_after_all_can_be_accepted(tmp_path: Path) -> None:
    from_the_future(tmp_path)
    with serving(tmp_path, "--accept-clock") as served:
        assert served.get("/readyz")[0] == 200


# --- what it does ----------------------------------------------------------------------------------------------------


def test_registered_stations_are_let_in_and_strangers_are_not(tmp_path: Path) -> None:
    password = register(tmp_path, "CP-7")
    with serving(tmp_path) as served:
        with served.dial("CP-7", bytes.fromhex(password)), served.dial("CP-7", password.encode()):
            assert served.get("/chargestations/CP-7")[1]["online"]
        statuses: list[int] = []
        for id, wrong in (("CP-7", b"wrong password"), ("CP-7", None), ("CP-8", b"wrong password")):
            with pytest.raises(InvalidStatus) as caught:
                served.dial(id, wrong)
            statuses.append(caught.value.response.status_code)

        assert statuses == [401, 401, 404]


@pytest.mark.parametrize(
    ("method", "body", "cause"), [("PATCH", b'{"generate": true}', "credential_revoked"), ("DELETE", None, "removed")]
)
def test_who_lost_the_credential_it_came_with_is_dropped(
    tmp_path: Path, method: str, body: bytes | None, cause: str
) -> None:
    password = register(tmp_path, "CP-7")
    with serving(tmp_path) as served, served.dial("CP-7", bytes.fromhex(password)) as station:
        change = urllib.request.Request(served.ready()["http"] + "/chargestations/CP-7", data=body, method=method)
        change.add_header("Content-Type", "application/json")
        urllib.request.urlopen(change, timeout=PATIENCE).close()
        with pytest.raises(Closed):
            station.recv(timeout=PATIENCE)
        with pytest.raises(InvalidStatus):
            served.dial("CP-7", bytes.fromhex(password))
        served.stop()
    (closed,) = read_log(tmp_path / "x.db", kinds={ConnectionClosed.kind})
    event = decode(closed)

    assert isinstance(event, ConnectionClosed)
    assert event.cause == cause


def test_it_answers_a_station(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served, served.dial("CP-7") as station:
        station.send('[2,"1","BootNotification",{"chargePointModel":"M","chargePointVendor":"V"}]')
        kind, id, payload = json.loads(station.recv(timeout=PATIENCE))

    assert (kind, id, payload["status"]) == (3, "1", "Accepted")


def test_canary_secrets_are_in_no_log_file_page_or_process_list(tmp_path: Path) -> None:
    canary = "canary-password-0123456789"
    token = "canary-token-0123456789"
    (tmp_path / "tokens").write_text(f"admin {token}\n")
    command = [sys.executable, "-m", "stationkeeper", "station", "add", "CP-7", "--password-stdin"]
    with serving(tmp_path) as served:
        environ = {**os.environ, "STATIONKEEPER_URL": served.ready()["http"], "STATIONKEEPER_TOKEN": token}
        done = subprocess.run(command, input=canary, capture_output=True, text=True, env=environ, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        with served.dial("CP-7", canary.encode()), pytest.raises(InvalidStatus):
            served.dial("CP-7", b"wrong-" + canary.encode())
        listing = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
        served.stop()
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "tokens"}
    seen = {**files, "cmdline": listing, "said": json.dumps(served.said).encode(), "printed": done.stdout.encode()}

    for canary_bytes in (canary.encode(), token.encode(), b64encode(canary.encode()), canary.encode().hex().encode()):
        assert [name for name, content in seen.items() if canary_bytes in content] == []


def test_a_standing_webhook_becomes_an_event_once(tmp_path: Path) -> None:
    webhook = '[[webhook]]\nname = "mine"\nurl = "https://example.com/{}"\nsecret_file = "mine.secret"\n'
    for path in ("hook", "hook", "other"):
        (tmp_path / "stationkeeper.toml").write_text(webhook.format(path))
        with serving(tmp_path, "--hold") as served:
            served.ready()
            served.stop()
    changes = [recorded for recorded in read_log(tmp_path / "x.db") if recorded.kind.startswith("webhook.")]

    assert [recorded.kind for recorded in changes] == ["webhook.added", "webhook.updated"]
    assert {recorded.actor for recorded in changes} == {"config"}
    assert (tmp_path / "mine.secret").stat().st_mode & 0o777 == 0o600


def test_a_copied_log_is_mute_until_it_is_adopted(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.ready()
        served.stop()
    (tmp_path / "x.db.secrets").unlink()
    with serving(tmp_path) as copy:
        mute = copy.get("/readyz")[1]["mute"]
        copy.stop()
    with serving(tmp_path, "--adopt") as adopted:
        speaking = not adopted.get("/readyz")[1]["mute"]
        adopted.stop()

    assert mute
    assert any("COPY" in line["event"] for line in copy.said)
    assert speaking


def test_hangup_reloads_certificate_and_tokens_and_drops_nobody(tmp_path: Path) -> None:
    authorities = [trustme.CA(), trustme.CA()]
    issue(tmp_path, authorities[0])
    (tmp_path / "tokens").write_text("read first-token\n")
    (tmp_path / "stationkeeper.toml").write_text('[stations]\ntls_certificate = "a.pem"\ntls_key = "a.key"\n')
    with serving(tmp_path, "--open") as served, served.dial("CP-7", ssl=trusting(authorities[0])) as station:
        issue(tmp_path, authorities[1])
        (tmp_path / "tokens").write_text("read second-token\n")
        served.process.send_signal(signal.SIGHUP)
        served.line("reloaded")
        with served.dial("CP-8", ssl=trusting(authorities[1])):
            station.send('[2,"1","Heartbeat",{}]')
            answered = json.loads(station.recv(timeout=PATIENCE))
        assert asked(served, "second-token") == 200
        assert asked(served, "first-token") == 401

    assert answered[:2] == [3, "1"]


def issue(folder: Path, authority: trustme.CA) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    (folder / "a.key").write_bytes(certificate.private_key_pem.bytes())
    (folder / "a.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


def trusting(authority: trustme.CA) -> Any:
    import ssl

    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def asked(served: Served, token: str) -> int:
    request = urllib.request.Request(served.ready()["http"] + "/chargestations")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        with serving(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as served:
            ready = manager.recv(1000).decode().splitlines()
            served.stop()
            stopping = manager.recv(1000).decode().splitlines()

    assert ready[0] == "READY=1"
    assert stopping == ["STOPPING=1"]


def test_the_start_says_how_stations_are_watched(tmp_path: Path) -> None:
    environ = {
        "STATIONKEEPER_LIVENESS_PING_INTERVAL": "7s",
        "STATIONKEEPER_GATEWAY_NAME": "north",
        "STATIONKEEPER_STATIONS_PUBLIC_URL": "wss://ocpp.example.com/ocpp",
    }
    with serving(tmp_path, environ=environ) as served:
        served.ready()
        served.stop()
    (started, *_) = read_log(tmp_path / "x.db")
    event = decode(started)

    assert isinstance(event, GatewayStarted)
    assert (event.ping_interval, started.gateway) == (7, "north")
    assert event.public_url == "wss://ocpp.example.com/ocpp"
