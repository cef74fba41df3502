"""Power that fails at any moment: what was acknowledged is there, whatever the disk had not been told to keep.

A process works on a log while `recorder.c`, preloaded, writes down each write and sync. From the record we build what
the disk may hold if the power fails after any one of them: nothing of what was not synced, all of it, or some sectors
of it; names of files likewise. Each such disk is opened as a log, and must hold all that had been acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from faulting import compiled, folder_in_memory

from stationkeeper.engine.entry import leaf
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.sqlite import open_log

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

Fate = Literal["nothing", "all", "some"]
"""What became of that which was not synced."""

SCRIPT = """
import os, sys
from stationkeeper.engine.log import Snapshot, opening, sqlite
from stationkeeper.engine.testing.logs import some_entry

sqlite.CHECKPOINT_PAGES = 40
opening.PRAGMAS["synchronous"] = int(sys.argv[2])
path = sys.argv[1]
acks = os.open(path + ".acks", os.O_RDWR | os.O_CREAT)
for life in range(2):
    log = sqlite.open_log(path)
    for n in range(12):
        log.append([some_entry(f"{log.position + k}", private=b"x" * 300 * n) for k in range(1, n % 3 + 2)])
        os.pwrite(acks, b"%08d" % log.position, 0)
    log.keep_snapshots([Snapshot("presence", 1, log.position, b"leaf", b"s" * 9000)])
    log.recover()
    log.append([some_entry(f"{log.position + 1}")])
    os.pwrite(acks, b"%08d" % log.position, 0)
    log.close()
"""


class Record(NamedTuple):
    """One thing that the process did to a file."""

    kind: str
    name: str
    offset: int
    data: bytes


class File:
    """A file's bytes on the disk for sure, and what was done to it since."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Record] = []

    def sync(self) -> None:
        self.durable = self.content("all", random.Random())
        self.pending = []

    def content(self, fate: Fate, chance: random.Random) -> bytes:
        content = bytearray(self.durable)
        for record in self.pending if fate != "nothing" else ():
            if record.kind == "t":
                if fate == "all" or chance.random() < 0.5:
                    del content[record.offset :]
                continue
            for start in range(0, len(record.data), SECTOR):
                if fate == "all" or chance.random() < 0.5:
                    piece, at = record.data[start : start + SECTOR], record.offset + start
                    content.extend(bytes(max(0, at - len(content))))
                    content[at : at + len(piece)] = piece
        return bytes(content)


class Disk:
    """What a disk holds for sure, and what it may hold."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.durable_names: dict[str, File] = {}
        self.acknowledged = 0

    def do(self, record: Record) -> None:
        if record.kind == "c":
            self.names[record.name] = File()
        elif record.kind == "u":
            del self.names[record.name]
        elif record.kind == "r":
            self.names[record.data.decode()] = self.names.pop(record.name)
        elif record.kind == "s" and record.name == ".":
            self.durable_names = dict(self.names)
        elif record.kind == "s":
            self.names[record.name].sync()
        elif record.name.endswith(".acks"):
            self.acknowledged = int(record.data)
        else:
            self.names[record.name].pending.append(record)

    def after_power_loss(self, fate: Fate, chance: random.Random) -> dict[str, bytes]:
        renamed = fate == "all" or (fate == "some" and chance.random() < 0.5)
        names = self.names if renamed else self.durable_names
        return {name: file.content(fate, chance) for name, file in names.items() if name.startswith("fleet.db")}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("recorder", tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def run(recorder: Path, folder: Path, *, synchronous: int) -> list[Record]:
    """Run the script and return all that it did to the files of its log."""
    work, trace = folder / "work", folder / "trace"
    work.mkdir()
    watched = {"LD_PRELOAD": str(recorder), "RECORDER_FOLDER": str(work), "RECORDER_TRACE": str(trace)}
    command = [sys.executable, "-c", SCRIPT, str(work / "fleet.db"), str(synchronous)]
    subprocess.run(command, check=True, env={**os.environ, **watched})
    return list(parse(trace.read_bytes()))


def parse(trace: bytes) -> Iterator[Record]:
    at = 0
    while at < len(trace):
        kind, name, offset, data = struct.unpack_from("=4q", trace, at)
        at += 32
        yield Record(chr(kind), trace[at : at + name].decode(), offset, trace[at + name : at + name + data])
        at += name + data


def outcomes(records: Iterable[Record], chance: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield every different disk that a power loss may leave, with the position acknowledged by then."""
    disk, seen = Disk(), set[int]()
    for record in records:
        disk.do(record)
        for fate in ("nothing", "all", "some"):
            files = disk.after_power_loss(fate, chance)
            state = hash((disk.acknowledged, *sorted(files.items())))
            if state not in seen:
                seen.add(state)
                yield disk.acknowledged, files


def recovered(folder: Path, files: dict[str, bytes]) -> int:
    """Open what the disk holds as a log, first for reading alone; check that it is whole, and return its position."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    seen = [event.position for event in read_log(folder / "fleet.db")] if files.get("fleet.db") else []
    for name in {"fleet.db", "fleet.db-wal"} & set(files):
        assert (folder / name).read_bytes() == files[name], "looking changed something"
    with closing(open_log(folder / "fleet.db")) as log:
        events = list(log.read())
        assert [event.id for event in events] == [str(n) for n in range(1, log.position + 1)]
        assert all(event.leaf == leaf(event) for event in events)
        assert log.fetch("PRAGMA integrity_check", ()) == [("ok",)]
        position = log.position
    assert seen == list(range(1, position + 1))
    shutil.rmtree(folder)
    return position


def test_what_was_acknowledged_survives_a_power_loss_at_any_moment(recorder: Path, folder: Path) -> None:
    records = run(recorder, folder, synchronous=2)
    states = list(outcomes(records, random.Random(20261122)))

    assert len(states) > 500
    assert states[-1][0] == 50
    for n, (acknowledged, files) in enumerate(states):
        assert recovered(folder / str(n), files) >= acknowledged


def test_the_same_without_syncs_is_found_out(recorder: Path, folder: Path) -> None:
    """The control: if this passed with syncs left out, the test above would prove nothing."""
    records = run(recorder, folder, synchronous=1)
    states = outcomes(records, random.Random(20261122))

    assert any(recovered(folder / str(n), files) < acknowledged for n, (acknowledged, files) in enumerate(states))
