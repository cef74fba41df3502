"""The documentation does not lie: its examples run as written, its commands exist, its reference pages are current.

An example is a fenced block of Python in README.md or in a page under docs/. It runs as a script of its own in a folder
that holds nothing but a small log, `fleet.db`; a block of text right after it is what it prints. One that serves
stations is called on port 9000 (another one in the test), and one that receives webhooks on port 8000; one that pulls
asks a daemon on port 8080 that serves the small log.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click
import generate
import pytest
import websockets.sync.client
from attrs import frozen
from standardwebhooks.webhooks import Webhook

import stationkeeper
from stationkeeper.daemon.cli import cli
from stationkeeper.daemon.configuration.config import Config
from stationkeeper.daemon.configuration.sources import load
from stationkeeper.engine.clock import parse_time
from stationkeeper.engine.codec import seal
from stationkeeper.engine.events import ConnectionClosed, ConnectionOpened, Event, GatewayStarted
from stationkeeper.engine.log.sqlite import open_log

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
PASSWORD = "a password of 16 or more bytes"


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@frozen
class Example:
    """A script that stands in a page, and what it prints."""

    where: str
    code: str
    printed: list[str]


def examples() -> Iterator[Example]:
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            where = f"{shown(page)}:{text.count(chr(10), 0, block.start()) + 1}"
            yield Example(where, block[1], (block[2] or "").splitlines())


EXAMPLES = list(examples())
SERVING = [one for one in EXAMPLES if "WebSocketStations(" in one.code]
RECEIVING = [one for one in EXAMPLES if "WEBHOOK_SECRET" in one.code]
PULLING = [one for one in EXAMPLES if "urlopen(" in one.code]
PLAIN = [one for one in EXAMPLES if one not in SERVING + RECEIVING + PULLING]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reaches(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(code: str, folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script until the block ends; from the beginning of the block on it listens."""
    (folder / "example.py").write_text(code)
    command = [sys.executable, "-u", "example.py"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not reaches(port):
                assert time.monotonic() < deadline, "it does not listen"
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"it ended with {process.wait(0.05)} before it listened")
            yield process
        finally:
            process.terminate()


def printed(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Return the first lines, but for those that a web framework says of itself."""
    assert process.stdout is not None
    said = (line.rstrip("\n") for line in process.stdout)
    return list(islice((line for line in said if not line.startswith((" * ", "INFO: "))), lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, but for a log in which CP-7 is online at nine, and leaves at a quarter past."""
    history: list[tuple[str, str, str, Event]] = [
        ("08:00", "run1", "", GatewayStarted(
            public_url="ws://127.0.0.1:9000/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
            settling=300.0, rules=1, software="0.1.0", host="example")),
        ("08:15", "run1-1:opened", "CP-7", ConnectionOpened(
            connection="run1-1", subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0)),
        ("08:30", "run1-2:opened", "CP-8", ConnectionOpened(
            connection="run1-2", subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0)),
        ("09:15", "run1-1:closed", "CP-7", ConnectionClosed(
            connection="run1-1", side="station", code=1000, cause="station_closed",
            alive_at=parse_time("2026-11-22T09:15:00Z"))),
    ]  # fmt: skip
    log = open_log(tmp_path / "fleet.db")
    for clock, id, subject, event in history:
        at = parse_time(f"2026-11-22T{clock}:00Z")
        log.append([seal(event, id=id, at=at, subject=subject, gateway="gateway", run="run1")])
    log.close()
    return tmp_path


@pytest.mark.parametrize("example", PLAIN, ids=lambda one: one.where)
def test_an_example_runs_and_prints_what_the_page_says(example: Example, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", example.code], cwd=folder, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout.splitlines() == example.printed


@pytest.mark.parametrize("example", SERVING, ids=lambda one: one.where)
def test_a_station_can_call_an_example_that_serves(example: Example, tmp_path: Path) -> None:
    port = free_port()
    credentials = base64.b64encode(f"CP-7:{PASSWORD}".encode()).decode()
    with running(example.code.replace("9000", str(port)), tmp_path, port) as process:
        with websockets.sync.client.connect(
            f"ws://127.0.0.1:{port}/ocpp/CP-7",
            subprotocols=[websockets.Subprotocol("ocpp1.6")],
            additional_headers={"Authorization": f"Basic {credentials}"},
        ) as station:
            station.send('[2, "1", "Heartbeat", {}]')
            if "on_message" in example.code:
                assert str(station.recv(timeout=30)).startswith('[3, "1", ')

        assert example.printed
        assert printed(process, len(example.printed)) == example.printed


@pytest.mark.parametrize("example", RECEIVING, ids=lambda one: one.where)
def test_an_example_that_receives_believes_genuine_news_alone(example: Example, tmp_path: Path) -> None:
    port, secret = free_port(), "whsec_" + base64.b64encode(b"a" * 32).decode()
    online = (
        '{"type": "chargestation.online", "timestamp": "2026-11-22T09:00:00Z", '
        '"data": {"id": "CP-7", "online": true, "version": 1}}'
    )
    offline = online.replace("online", "offline", 1).replace("true", "false").replace(": 1}", ": 2}")

    def post(body: str, *, signed_with: str) -> int:
        now = datetime.now(UTC)
        signature = Webhook(signed_with).sign("msg_1", now, body)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": f"{int(now.timestamp())}",
            "webhook-signature": signature,
        }
        request = urllib.request.Request(f"http://127.0.0.1:{port}", body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code

    with running(example.code.replace("8000", str(port)), tmp_path, port, WEBHOOK_SECRET=secret) as process:
        forged = post(offline, signed_with="whsec_" + base64.b64encode(b"b" * 32).decode())
        genuine = [post(body, signed_with=secret) for body in (online, online, offline, online)]

        assert (forged, genuine) == (401, [204] * 4)
        assert printed(process, 2) == ["CP-7 online", "CP-7 offline"]


@pytest.fixture
def daemon(folder: Path) -> Iterator[int]:
    """A daemon that serves the small log; the port of its API."""
    port = free_port()
    # Whatever the clock says: the log is of one day.
    command = [sys.executable, "-m", "stationkeeper", "serve", "--log", "fleet.db", "--accept-clock"]
    command += ["--stations", "127.0.0.1:0", "--http", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while answer_of(f"http://127.0.0.1:{port}/readyz")[0] != 200:
                assert time.monotonic() < deadline, "it does not get ready"
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def answer_of(url: str, headers: dict[str, str] | None = None, *, bytes: int = -1) -> tuple[int, str]:
    """Return the status, and so many bytes of the answer; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, None, headers or {}), timeout=60) as answer:
            return answer.status, answer.read(bytes).decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except OSError:
        return 0, ""


@pytest.mark.parametrize("example", PULLING, ids=lambda one: one.where)
def test_an_example_that_pulls_prints_what_happened(example: Example, folder: Path, daemon: int) -> None:
    code = example.code.replace("8080", str(daemon))
    with subprocess.Popen([sys.executable, "-u", "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert printed(process, 3) == ["CP-7 online", "CP-8 online", "CP-7 offline"]
        finally:
            process.kill()


def test_a_line_of_curl_gets_what_its_page_says(daemon: int) -> None:
    # The page speaks of a longer log.
    lines = [words for line, words in shell_lines() if words[0] == "curl" and "receive-webhooks" in line]
    answers = [
        curl([word.replace("8080", str(daemon)).replace("184302", "3") for word in words[1:]]) for words in lines
    ]

    assert [status for status, _ in answers] == [200] * 6
    station, everything, filtered, stream, *lists = [text for _, text in answers]
    assert json.loads(station)["version"] == 2
    assert [entry["position"] for entry in json.loads(everything)["data"]] == [2, 3, 4]
    assert json.loads(filtered)["data"] == []
    assert "id: 4\nevent: chargestation.offline\ndata: " in stream
    assert [[entry["id"] for entry in json.loads(text)["data"]] for text in lists] == [["CP-7", "CP-8"], ["CP-7"]]


def curl(words: list[str]) -> tuple[int, str]:
    """Ask as `curl` would with these arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("url")
    asked = parser.parse_args(words)
    # The answer comes at once, so that no test waits for the fifty seconds of the page.
    url = asked.url.replace("wait=50", "wait=0.1")
    headers = dict(header.split(": ", 1) for header in asked.H)
    return answer_of(url, headers, bytes=80 if asked.N else -1)


def shell_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield the lines that a reader is to type, as words, up to a redirection or a pipe."""
    for page in PAGES:
        for block in re.finditer(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block[1].replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    ends = [words.index(mark) for mark in (">", "|") if mark in words]
                    yield f"{shown(page)}: {line}", words[: min(ends, default=None)]


@pytest.mark.parametrize(("line", "words"), list(shell_lines()))
def test_a_command_of_the_pages_exists_with_its_flags(line: str, words: list[str]) -> None:
    match words:
        case ["stationkeeper" | ".venv/bin/stationkeeper", *arguments]:
            parse(cli, arguments)
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in targets)
        case ["pip", "install", wanted]:
            assert re.fullmatch(r"stationkeeper(\[daemon\])?|\.\[(daemon|test)\]", wanted)
        case ["curl", *_]:
            assert "receive-webhooks" in line, "no test asks what this asks"
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case _:
            pytest.fail(f"nothing checks {line}")


def parse(command: click.Command, arguments: list[str]) -> None:
    """Walk down to a command and read its arguments as it would itself, without running it.

    Raises:
        click.UsageError: there is no such command, or no such flag.
    """
    context = click.Context(command, **generate.CONTEXT)
    if isinstance(command, click.Group) and arguments:
        _, below, rest = command.resolve_command(context, arguments)
        assert below is not None
        parse(below, rest)
    else:
        command.make_parser(context).parse_args(list(arguments))


@pytest.mark.parametrize("page", [page for page in PAGES if "```toml" in page.read_text()], ids=lambda page: page.name)
def test_a_configuration_of_the_pages_can_be_used(page: Path, tmp_path: Path) -> None:
    for block in re.finditer(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        (tmp_path / "stationkeeper.toml").write_text(block[1])

        assert load(tmp_path / "stationkeeper.toml").config != Config()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "bench/README.md"], ids=shown)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_page_that_follows_from_the_code_is_current(page: str) -> None:
    current = (generate.REFERENCE / page).read_text()

    assert current == generate.PAGES[page](), "run `python docs/generate.py`"


@pytest.mark.parametrize("page", ["events.md", "configuration.md"])
def test_the_reference_says_what_each_field_and_setting_means(page: str) -> None:
    assert [line for line in generate.PAGES[page]().splitlines() if line.endswith("|  |")] == []


def test_every_test_that_a_promise_names_exists() -> None:
    promises = (ROOT / "docs/explanation/promises.md").read_text()
    paths = set(re.findall(r"`((?:tests|engine)/[\w/]+(?:\.py)?)`", promises))
    named = set(re.findall(r"`(test_\w+)`", promises))
    places = {"tests": ROOT, "engine": Path(stationkeeper.__file__).parent}
    found = {path: places[path.partition("/")[0]] / path for path in paths}
    sources = "".join(
        file.read_text()
        for folder in (ROOT / "tests", found["engine/testing/logs.py"].parent)
        for file in folder.rglob("*.py")
    )

    assert [path for path, file in found.items() if not file.exists()] == []
    assert [name for name in named if f"def {name}(" not in sources] == []
