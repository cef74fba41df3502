"""The daemon as a process: what it does for stations, webhooks and operators."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trustme
from served import PATIENCE, Served, plain_environment, register, serving
from websockets.exceptions import ConnectionClosed as Closed
from websockets.exceptions import InvalidStatus

from stationkeeper.engine.codec import decode
from stationkeeper.engine.events import ConnectionClosed, GatewayStarted
from stationkeeper.engine.log.reading import read_log


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
        environ = {**plain_environment(), "STATIONKEEPER_URL": served.ready()["http"], "STATIONKEEPER_TOKEN": token}
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


def test_what_is_owed_goes_where_the_changed_configuration_says_and_nowhere_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as old, socket.create_server(("127.0.0.1", 0)) as new:
        for receiver in (old, new):
            (tmp_path / "stationkeeper.toml").write_text(
                "[webhooks]\nallow_http = true\nallow_private_networks = true\n"
                f'[[webhook]]\nname = "ops"\nurl = "http://127.0.0.1:{receiver.getsockname()[1]}"\n'
                'secret_file = "ops.secret"\n'
            )
            if receiver is old:
                with serving(tmp_path, "--open", "--hold") as served, served.dial("CP-7"):
                    served.stop()
        new.settimeout(PATIENCE)
        old.setblocking(False)
        with serving(tmp_path, "--open") as served:
            message, _ = new.accept()
            message.close()
            mute = served.get("/readyz")[1]["mute"]
        with pytest.raises(BlockingIOError):
            old.accept()

    assert not mute


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
        assert served.line("reloaded")["what"] == ["tokens", "certificate"]
        with served.dial("CP-8", ssl=trusting(authorities[1])):
            station.send('[2,"1","Heartbeat",{}]')
            answered = json.loads(station.recv(timeout=PATIENCE))
        assert asked(served, "second-token") == 200
        assert asked(served, "first-token") == 401

    assert answered[:2] == [3, "1"]


def test_what_cannot_be_reloaded_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("read first-token\n")
    with serving(tmp_path) as served:
        served.ready()
        (tmp_path / "tokens").write_text("first-token\n")
        served.process.send_signal(signal.SIGHUP)

        assert "line 1" in served.line("not reloaded")["reason"]
        assert asked(served, "first-token") == 200
    assert all(line["event"] != "reloaded" for line in served.said)


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
