"""An import registers all stations of a file, or none; and says which line is wrong, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calling import Call, on_log

from stationkeeper.daemon.commands.desk import Desk
from stationkeeper.daemon.commands.enlisting import Listed, enlist, lines_of, read_list
from stationkeeper.daemon.commands.in_process import LogDesk, open_log_desk
from stationkeeper.daemon.registry.errors import Invalid, Refused
from stationkeeper.engine.events import PingSettings
from stationkeeper.engine.log.reading import read_log

KEY = bytes(range(20))
FILE = f"""id,password,password_hex,password_base64,protocol,name,ping_interval
CP-1,a password of some length,,,ocpp1.6,"Bay 1, left",
CP-2,{KEY.hex()},,,,,30
CP-3,,{KEY.hex()},,,,0
CP-4,,,AAECAwQFBgcICQoLDA0ODxAREhM=,,,1m
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogDesk]:
    monkeypatch.chdir(tmp_path)
    with open_log_desk("x.db", make=True) as desk:
        yield desk


def listed(text: str, *, generate: bool = False) -> list[Listed]:
    return read_list(text.splitlines(keepends=True), generate=generate)


def ids(desk: Desk) -> list[str]:
    return [row["id"] for row in desk.call("GET", "/chargestations")["data"]]


def test_a_file_is_read_line_by_line() -> None:
    stations = [one.station for one in listed(FILE)]

    assert [station.id for station in stations] == ["CP-1", "CP-2", "CP-3", "CP-4"]
    assert [station.password for station in stations] == ["a password of some length", KEY.hex(), KEY, KEY]
    assert stations[0].name == "Bay 1, left"
    assert [station.liveness for station in stations[1:]] == [
        PingSettings(ping_interval=30),
        PingSettings(ping_interval=0),
        PingSettings(ping_interval=60),
    ]


def test_a_file_says_how_each_station_proves_who_it_is(desk: LogDesk) -> None:
    stations = listed(
        "id,security,profile,serial,lenient,protocol\n"
        "CP-1,,3,SN-1,,\n"
        "CP-2,mtls,,,origin,\n"
        "CP-3,,2,,username subprotocol,ocpp1.6\n",
        generate=True,
    )
    enlist(desk, stations, dry_run=False)
    told = [json.loads(recorded.body) for recorded in read_log("x.db")]
    terms = [[body[name] for name in ("security", "profile", "serial", "lenient")] for body in told]

    assert terms == [
        ["mtls", 3, "SN-1", []],
        ["mtls", None, None, ["origin"]],
        ["basic", 2, None, ["username", "subprotocol"]],
    ]
    assert [len(body["credentials"]) for body in told] == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,profile\nCP-1,4\n", "line 2: profile: '4' is unknown"),
        ("id,profile,password\nCP-1,3,a password of some length\n", "takes the password's place"),
        ("", "the first line names the columns"),
        ("name\nx\n", "id is one of them"),
        ("id,pasword\nCP-1,x\n", "did you mean password?"),
        ("id,password\n", "holds no station"),
        ("id,password\nCP-1,\n", "line 2: password: give one"),
        ("id,password\nCP-1,short\n", "line 2: password: it has 5 bytes"),
        ("id,password\nCP-1,long enough\n,long enough\n", "line 3: id"),
        ("id,password\nCP-1,long enough\nCP-1,long enough\n", "line 3: id: 'CP-1' stands in line 2 already"),
        ("id,password_hex\nCP-1,zz\n", "line 2: password_hex"),
        ("id,password_hex\nCP-1,00ff\n", "16 bytes or more, this one has 2"),
        ("id,password_base64\nCP-1,?\n", "line 2: password_base64"),
        ("id,password,password_hex\nCP-1,long enough,00\n", "give one of password and password_hex"),
        ("id,password,silence\nCP-1,long enough,soon\n", "line 2: silence"),
        ("id,password\nCP-1,long enough,more\n", "more fields"),
        ("id,password\nCP-1,\n", "--generate"),
        ("id,security,serial\nCP-1,mtls,S\nCP-2,mtls,S\n", "line 3: serial: 'S' stands in line 2 already"),
        ("id,security,serial\nCP-1,mtls,S\nS,mtls,\n", "line 3: id: 'S' stands in line 2 already"),
        ('id,password\n"CP-1","long enough"\n"CP\n2",long enough\n', "line 4: id"),
    ],
)
def test_a_wrong_line_is_named(text: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        listed(text)

    assert told in str(caught.value)


def test_all_wrong_lines_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        listed("id,password\n" + "CP-1,short\n" * 30)

    assert str(caught.value).count("\nline ") == 20
    assert "and 10 more" in str(caught.value)


def test_passwords_are_generated_for_those_that_have_none(desk: LogDesk) -> None:
    done = enlist(desk, listed("id,password\nCP-1,long enough\nCP-2,\n", generate=True), dry_run=False)

    assert done[0].password is None
    assert done[1].password is not None
    assert ids(desk) == ["CP-1", "CP-2"]


def test_a_dry_run_changes_nothing_and_finds_what_is_there(desk: LogDesk) -> None:
    assert enlist(desk, listed(FILE), dry_run=True) == []
    assert ids(desk) == []
    desk.call("POST", "/chargestations", {"id": "CP-3", "generate": True})

    with pytest.raises(Invalid, match="line 4: id: 'CP-3' is registered already"):
        enlist(desk, listed(FILE), dry_run=True)


@pytest.mark.parametrize(("row", "told"), [("CP-1,mtls,S-0", "serial: 'S-0'"), ("S-0,mtls,", "id: 'S-0'")])
def test_a_dry_run_finds_names_that_are_anothers(desk: LogDesk, row: str, told: str) -> None:
    desk.call("POST", "/chargestations", {"id": "CP-0", "security": "mtls", "serial": "S-0"})

    with pytest.raises(Invalid, match=f"line 2: {told} names station 'CP-0'"):
        enlist(desk, listed(f"id,security,serial\n{row}\n"), dry_run=True)


def test_what_is_there_stops_the_import_before_it_begins(desk: LogDesk) -> None:
    desk.call("POST", "/chargestations", {"id": "CP-3", "generate": True})
    with pytest.raises(Invalid):
        enlist(desk, listed(FILE), dry_run=False)

    assert ids(desk) == ["CP-3"]
    assert len(list(read_log("x.db"))) == 1


class FailsAt:
    """A desk whose daemon fails at the n-th registration, and goes on failing if told so."""

    def __init__(self, desk: Desk, n: int, *, for_good: bool = False) -> None:
        self.desk, self.left, self.for_good = desk, n, for_good

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.left -= method == "POST"
        if self.left == 0 and (method == "POST" or self.for_good):
            raise Refused("the log cannot be written")
        return self.desk.call(method, path, body)


def test_a_failure_in_the_middle_leaves_none(desk: LogDesk) -> None:
    with pytest.raises(Refused, match="line 4: the log cannot be written; no station of the file is registered"):
        enlist(FailsAt(desk, 3), listed(FILE), dry_run=False)

    assert ids(desk) == []


def test_what_could_not_be_removed_again_is_named(desk: LogDesk) -> None:
    with pytest.raises(Refused, match="could not be removed again: CP-1, CP-2"):
        enlist(FailsAt(desk, 3, for_good=True), listed(FILE), dry_run=False)

    assert ids(desk) == ["CP-1", "CP-2"]


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 3), ("utf-16", 1)])
def test_a_file_that_is_not_utf8_is_refused_with_its_line(call: Call, encoding: str, line: int) -> None:
    Path("fleet.csv").write_bytes("id,name\nCP-1,Bay\nCP-2,Zürich\n".encode(encoding))
    told = on_log(call, "station", "import", "fleet.csv", "--generate")

    assert told.code == 2
    assert f"line {line}" in told.err
    assert "save the file as UTF-8" in told.err
    assert not Path("x.db").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_is_read_with_or_without_a_mark(encoding: str) -> None:
    lines = lines_of('id,password,name\r\nCP-2,a password of some length,"Zürich, Bay 1"\r\n'.encode(encoding))

    assert [one.station.name for one in read_list(lines, generate=False)] == ["Zürich, Bay 1"]


def test_a_dry_run_needs_no_log_and_makes_none(call: Call, tmp_path: Path) -> None:
    (tmp_path / "fleet.csv").write_text("id\nCP-1\n")
    log = tmp_path / "new.db"
    words = ("station", "import", str(tmp_path / "fleet.csv"), "--log", str(log), "--generate")

    assert call(*words, "--dry-run").code == 0
    assert not log.exists()
    assert call(*words).code == 0
