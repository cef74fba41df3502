"""Export and import: the same log at the other end, byte for byte, or none."""

from __future__ import annotations

import json
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from copybook import CHANGED, CUT, REMOTE, append, events_of, files, make, make_of, some, tamper, writing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import arbitrary_histories, legal_histories

from stationkeeper.engine.copies.exporting import export, export_lines
from stationkeeper.engine.copies.importing import import_log
from stationkeeper.engine.entry import Entry, Recorded, leaf, private_digest
from stationkeeper.engine.errors import LogContradicted, LogDamaged, LogForeign, LogLocked, LogMissing
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.tree import Tree
from stationkeeper.engine.log.lock import WriterLock
from stationkeeper.engine.testing.logs import some_entry
from stationkeeper.projections import outbox, presence, registry, sessions


@contextmanager
def folder() -> Generator[Path]:
    """Yield a folder for one drawn case."""
    made = Path(tempfile.mkdtemp())
    try:
        yield made
    finally:
        shutil.rmtree(made)


def states(events: list[Recorded]) -> list[bytes]:
    folding = Fold([presence, registry, outbox, sessions])
    for recorded in events:
        folding.advance(recorded)
    return [projection.dump(folding.state(projection)) for projection in folding.projections]


def messages(events: list[Recorded]) -> list[tuple[str, bytes]]:
    """Return every message that a log derives, by id, with its body as of then."""
    folding = Fold([outbox])
    told: list[tuple[str, bytes]] = []
    for recorded in events:
        for owed in folding.advance(recorded).changes(outbox):
            if owed.state == "pending" and owed.position == recorded.position:
                told.append((owed.id, folding.state(outbox).body(owed)))
    return told


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=legal_histories() | arbitrary_histories())
def test_what_was_imported_is_what_was_exported(history: list[Recorded]) -> None:
    with folder() as here:
        wanted = make_of(here / "log.db", history)
        export(here / "log.db", here / "first")
        assert import_log(here / "first", here / "copy.db") == len(wanted)
        export(here / "copy.db", here / "second")

        found = events_of(here / "copy.db")
        assert (here / "second").read_bytes() == (here / "first").read_bytes()
        assert outside.read_keys(here / "copy.db") == outside.read_keys(here / "log.db")
        assert outside.read_note(here / "copy.db") == outside.read_note(here / "log.db")
    assert found == wanted
    assert states(found) == states(wanted)
    assert messages(found) == messages(wanted)


odd_bodies = st.sampled_from(
    (b"", b"{}", b" {}", b"{} ", b'{"a":\n1}', b'{"a":\r1}', b'1,"id":"x"', b"null", b'"\xff"', b'"\\u0000\\n"',
     b"[1, 2]", b"1.0", b'"\xe2\x80\xa8"', b"{}}", b'{"body":{}}', b'"\xed\xa0\x80"')
) | st.binary(max_size=20)  # fmt: skip
odd_words = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def odd_entries(draw: st.DrawFn) -> list[Entry]:
    """Draw entries of no kind that anybody knows: a log keeps any bytes."""
    ids = draw(st.lists(odd_words.filter(bool), unique=True, max_size=6))
    entries: list[Entry] = []
    for id in ids:
        private = draw(st.binary(max_size=20))
        entry = Entry(
            id=id, at=draw(st.integers(-(2**62), 2**62)), kind=draw(odd_words), schema=draw(st.integers(0, 2**31)),
            subject=draw(odd_words), gateway=draw(odd_words), run=draw(odd_words), actor=draw(odd_words),
            body=draw(odd_bodies), private=private, salt=b"s" * 16 if private else b"", digest=b"", leaf=b"",
        )  # fmt: skip
        entries.append(msgspec.structs.replace(entry, leaf=leaf(entry)))
    return entries


@settings(max_examples=60, deadline=None)
@given(entries=odd_entries(), redacted=st.booleans())
def test_any_bytes_stay_what_they_are(entries: list[Entry], redacted: bool) -> None:
    with folder() as here:
        wanted = make_of(here / "log.db", entries)
        export(here / "log.db", here / "first", redacted=redacted)
        import_log(here / "first", here / "copy.db")
        export(here / "copy.db", here / "second")
        text = (here / "first").read_bytes()
        assert (here / "second").read_bytes() == text
        found = events_of(here / "copy.db")
    if redacted:
        wanted = [
            msgspec.structs.replace(event, private=b"", salt=b"", digest=private_digest(event)) if event.salt else event
            for event in wanted
        ]
    assert found == wanted
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def text(log: Path, tmp_path: Path) -> Path:
    make(log, 6, unprotected=2)
    export(log, tmp_path / "text")
    return tmp_path / "text"


def test_a_redacted_export_tells_nothing_private_and_proves_as_much(log: Path, tmp_path: Path) -> None:
    make(log)

    export(log, tmp_path / "text", redacted=True)

    text = (tmp_path / "text").read_bytes()
    assert REMOTE not in text
    assert b64encode(REMOTE) not in text
    import_log(tmp_path / "text", tmp_path / "copy.db")
    assert [event.leaf for event in events_of(tmp_path / "copy.db")] == [event.leaf for event in events_of(log)]
    root = Tree()
    root.extend([leaf(event) for event in events_of(tmp_path / "copy.db")])
    assert json.loads(text.splitlines()[-1])["root"] == root.root().hex()


def test_an_export_beside_a_writer_ends_where_the_log_ended_and_touches_nothing(log: Path) -> None:
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, some(1, 30), protect=False)
        before = files(log.parent)
        lines = export_lines(log)
        head = json.loads(next(lines))
        assert files(log.parent) == before
        append(writer, ledger, some(31, 30))
        rest = [json.loads(line) for line in lines]

    assert head["size"] == 30
    assert [line["position"] for line in rest[:-1]] == list(range(1, 31))
    assert Checkpoint.parse(rest[-1]["checkpoint"].encode()).size == 0


@pytest.mark.parametrize("changes", [CUT, CHANGED], ids=["cut", "changed"])
def test_a_log_that_is_not_whole_is_not_exported(log: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    make(log)
    tamper(log, *changes)

    with pytest.raises(LogContradicted):
        export(log, tmp_path / "text")
    assert not list(tmp_path.glob("text*"))


def test_nothing_that_is_there_is_written_over(log: Path, text: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    with pytest.raises(LogForeign, match="is there already"):
        export(log, text)
    with pytest.raises(LogForeign, match="is there already"):
        import_log(text, log)
    (tmp_path / "gone.db.secrets").write_bytes(b"s")
    with pytest.raises(LogForeign, match=r"gone\.db\.secrets is there already"):
        import_log(text, tmp_path / "gone.db")
    (tmp_path / "gone.db.secrets").unlink()
    (tmp_path / "gone.db.checkpoint").write_bytes(b"a note")
    with pytest.raises(LogForeign, match=r"gone\.db\.checkpoint is there already"):
        import_log(text, tmp_path / "gone.db")
    (tmp_path / "gone.db.importing").write_bytes(b"an import that was killed")
    assert import_log(text, tmp_path / "gone.db") == import_log(text, tmp_path / "again.db")
    assert events_of(tmp_path / "gone.db") == events_of(log)
    for file in [*tmp_path.glob("gone.db*"), *tmp_path.glob("again.db*")]:
        file.unlink()
    lock = WriterLock(tmp_path / "busy.db")
    with pytest.raises(LogLocked):
        import_log(text, tmp_path / "busy.db")
    lock.release()

    assert files(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"SQLite format 3\0", b'{"position":1}\n', b"\xff\n"])
def test_what_is_no_export_is_said_to_be_none(tmp_path: Path, log: Path, content: bytes) -> None:
    (tmp_path / "text").write_bytes(content)

    with pytest.raises(LogForeign, match="cannot be imported"):
        import_log(tmp_path / "text", log)
    with pytest.raises(LogMissing):
        import_log(tmp_path / "nowhere", log)
    assert list(files(tmp_path)) == ["text"]


def cut(lines: list[bytes], n: int) -> int:
    del lines[n:]
    return n + 1


def cut_short(lines: list[bytes], n: int) -> int:
    lines[n:] = [lines[n][:-1]]
    return n + 1


def leave_out(lines: list[bytes], n: int) -> int:
    del lines[n]
    return n + 1


def double(lines: list[bytes], n: int) -> int:
    lines.insert(n, lines[n])
    return n + 2


def spoil(lines: list[bytes], n: int) -> int:
    lines[n] = b"x" + lines[n]
    return n + 1


def lie(lines: list[bytes], n: int) -> int:
    """Change an event, or the root."""
    changed = lines[n].replace(b'"kind":"', b'"kind":"x').replace(b'"root":"', b'"root":"00')
    lines[n] = changed
    return n + 1


def more_private(lines: list[bytes], n: int) -> int:
    """Put something private where no leaf would cover it."""
    fields = json.loads(lines[n])
    fields = {**fields, "salt": "", "private": "AAAA"} if "leaf" in fields else {**fields, "size": 7}
    lines[n] = json.dumps(fields).encode() + b"\n"
    return n + 1


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("harm", [cut, cut_short, leave_out, double, spoil, lie, more_private])
def test_the_first_line_that_is_wrong_is_named_and_nothing_imported(text: Path, n: int, harm: object) -> None:
    lines = text.read_bytes().splitlines(keepends=True)
    assert callable(harm)
    wrong = harm(lines, n)
    if harm is leave_out and n == 7:
        wrong = 8
    text.write_bytes(b"".join(lines))
    copy = text.with_name("copy.db")

    with pytest.raises(LogDamaged, match=f"line {wrong}: "):
        import_log(text, copy)
    assert not list(text.parent.glob("copy.db-*"))
    assert not copy.exists()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("checkpoint", "", "signed"),
        ("keys", [], "not signed by a key of this log"),
        ("checkpoint", "stationkeeper/x\n1\nAAAA\n\n\N{EM DASH} x AAAA\n", "no end of an export"),
        ("size", 7, "size or root"),
    ],
)
def test_an_end_that_does_not_fit_is_refused(text: Path, key: str, value: object, why: str) -> None:
    lines = text.read_bytes().splitlines(keepends=True)
    foot = {**json.loads(lines[-1]), key: value}
    text.write_bytes(b"".join([*lines[:-1], json.dumps(foot).encode() + b"\n"]))

    if value == "":  # nobody vouches for it, and nobody said so
        assert import_log(text, text.with_name("copy.db")) == 6
        return
    with pytest.raises(LogDamaged, match=why):
        import_log(text, text.with_name("copy.db"))


def test_a_checkpoint_of_another_history_is_refused(text: Path, tmp_path: Path) -> None:
    """The same log went two ways; the export of one bears the checkpoint of the other."""
    lines = text.read_bytes().splitlines(keepends=True)
    shutil.copy(tmp_path / "fleet.db", tmp_path / "fork.db")
    for end in ("secrets", "key"):
        shutil.copy(tmp_path / f"fleet.db.{end}", tmp_path / f"fork.db.{end}")
    tamper(tmp_path / "fork.db", "DELETE FROM event WHERE position > 3", "UPDATE head SET position = 3")
    with writing(tmp_path / "fork.db") as (writer, _, ledger):
        append(writer, ledger, [some_entry("other")])
    note = outside.read_note(tmp_path / "fork.db")
    assert note is not None
    foot = {**json.loads(lines[-1]), "checkpoint": note.decode()}
    text.write_bytes(b"".join([*lines[:-1], json.dumps(foot).encode() + b"\n"]))

    with pytest.raises(LogDamaged, match="line 8: the events above do not agree with the checkpoint"):
        import_log(text, tmp_path / "copy.db")


def test_an_import_cleans_up_what_one_that_died_left(text: Path) -> None:
    copy = text.with_name("copy.db")
    copy.with_name("copy.db.importing").write_bytes(b"half")
    copy.with_name("copy.db.importing-wal").write_bytes(b"half")

    assert import_log(text, copy) == 6
    assert not list(text.parent.glob("copy.db.importing*"))
