"""What a disk may hold when the power fails, built from what `recorder.c` saw a process do to its files."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from tally import counted

from stationkeeper.engine.entry import leaf
from stationkeeper.engine.log.reading import read_log
from stationkeeper.engine.log.sqlite import open_log

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

PAGE = 4096
"""Bytes that the kernel keeps together in memory."""

Fate = Literal["nothing", "all", "some"]
"""What became of that which was not synced."""


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

    def do(self, record: Record) -> None:
        self.pending.append(record)

    def sync(self) -> None:
        self.durable = self.content("all", random.Random())
        self.pending = []

    def fail(self) -> None:
        """Go on after a sync that failed; what was to be kept is as uncertain as before."""

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


class ForgetfulFile(File):
    """A file behind a page cache that believes pages clean after a sync of them failed, and so never writes them.

    Whoever reads the file sees them all the same; only what is written anew is written at the next sync. It is what
    Linux did for long, and what some of its file systems still do ("fsyncgate"); the model is the worst of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache = bytearray()
        self.dirty: set[int] = set()
        self.cut: int | None = None
        """To which length it was cut since the last sync."""

    def do(self, record: Record) -> None:
        if record.kind == "t":
            del self.cache[record.offset :]
            self.cache.extend(bytes(record.offset - len(self.cache)))
            self.cut = min(record.offset, self.cut if self.cut is not None else record.offset)
            return
        end = record.offset + len(record.data)
        self.cache.extend(bytes(max(0, end - len(self.cache))))
        self.cache[record.offset : end] = record.data
        self.dirty.update(range(record.offset // PAGE, (end - 1) // PAGE + 1))

    def sync(self) -> None:
        self.durable = self.content("all", random.Random())
        self.dirty.clear()
        self.cut = None

    def fail(self) -> None:
        self.dirty.clear()

    def content(self, fate: Fate, chance: random.Random) -> bytes:
        if fate == "nothing":
            return self.durable
        content = bytearray(self.durable[: self.cut])[: len(self.cache)]
        content.extend(bytes(len(self.cache) - len(content)))
        for page in sorted(self.dirty):
            if fate == "all" or chance.random() < 0.5:
                here = slice(page * PAGE, (page + 1) * PAGE)
                content[here] = self.cache[here]
        return bytes(content)


class Disk:
    """What a disk holds for sure, and what it may hold. In the beginning that is *files*."""

    def __init__(self, kind: type[File] = File, files: Mapping[str, bytes] | None = None) -> None:
        self.kind = kind
        self.names = {name: kind() for name in files or {}}
        for name, content in (files or {}).items():
            self.names[name].do(Record("w", name, 0, content))
            self.names[name].sync()
        self.durable_names = dict(self.names)
        self.acknowledged = 0

    def do(self, record: Record) -> None:
        if record.kind == "c":
            self.names[record.name] = self.kind()
        elif record.kind == "u":
            del self.names[record.name]
        elif record.kind == "r":
            self.names[record.data.decode()] = self.names.pop(record.name)
        elif record.kind == "l":
            self.names[record.data.decode()] = self.names[record.name]
        elif record.kind == "s" and record.name == ".":
            self.durable_names = dict(self.names)
        elif record.kind == "s":
            self.names[record.name].sync()
        elif record.kind == "f":
            if record.name != ".":
                self.names[record.name].fail()
        elif record.name.endswith(".acks"):
            self.acknowledged = int(record.data)
        else:
            self.names[record.name].do(record)

    def after_power_loss(self, fate: Fate, chance: random.Random) -> dict[str, bytes]:
        renamed = fate == "all" or (fate == "some" and chance.random() < 0.5)
        names = self.names if renamed else self.durable_names
        return {name: file.content(fate, chance) for name, file in names.items()}


def parse(trace: bytes) -> Iterator[Record]:
    at = 0
    while at < len(trace):
        kind, name, offset, data = struct.unpack_from("=4q", trace, at)
        at += 32
        yield Record(chr(kind), trace[at : at + name].decode(), offset, trace[at + name : at + name + data])
        at += name + data


def recovered(folder: Path, files: dict[str, bytes]) -> int:
    """Open what the disk holds as a log, first for reading alone; check that it is whole, and return its position."""
    counted("disks", 1)
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
