"""Import: a new log made of an export, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from ..entry import Recorded, is_genuine
from ..errors import Conflict, Fenced, LogDamaged, LogForeign, LogMissing, LogUnavailable
from ..ledger import outside
from ..ledger.checkpoint import Checkpoint, origin_of
from ..ledger.note import VerifyingKey, signer_of
from ..ledger.tree import Tree
from ..log.copying import make_log, wait_for_no_disk
from ..log.files import publish, share_like
from ..log.lock import WriterLock
from ..log.reading import open_reader
from ..log.sqlite import SqliteLog, open_log
from . import lines
from .backup import check_free, sweep
from .witness import Progress, no_progress

_BATCH: Final = 1_000


def import_log(file: Path, log: Path, *, progress: Progress = no_progress) -> int:
    """Make a new log of an export, and return how many events it holds.

    It keeps the id of the log that was exported. Without that one's secrets it is a copy, and sends nothing.

    Raises:
        LogDamaged: the export is not whole, or not what was exported; the message names the first line that is wrong.
        LogForeign: something stands at the new log's place, or the file is something else.
        LogError: the log cannot be made.
    """
    new = log.with_name(log.name + ".importing")
    check_free(log, left=new)
    lock = WriterLock(log)
    try:
        check_free(log, left=new)
        sweep(log, left=new)
        foot, keys = unpack(file, new, progress=progress)
        if keys:
            outside.write_keys(log, keys)
        if foot.checkpoint:
            outside.write_note(log, foot.checkpoint.encode())
        publish(new, log)
    finally:
        try:
            sweep(log, left=new)
        finally:
            lock.release()
    return foot.size


def unpack(file: Path, new: Path, *, progress: Progress = no_progress) -> tuple[lines.Foot, list[VerifyingKey]]:
    """Make a log of an export, and return what the export's end says.

    Raises:
        LogError: as `import_log`.
    """
    try:
        with file.open("rb") as source:
            return _unpack(_Source(file, source), new, progress)
    except FileNotFoundError as error:
        raise LogMissing(f"there is no file {file}; check the path") from error
    except OSError as error:
        raise LogUnavailable(f"{file} cannot be read ({error.strerror}); check its rights") from error


class _Source:
    """The lines of an export, which knows where it is."""

    def __init__(self, file: Path, source: BinaryIO) -> None:
        self.file = file
        self.line = 0
        self._source = source

    def next(self) -> bytes:
        """Return the next line.

        Raises:
            LogDamaged: there is none.
        """
        self.line += 1
        line = self._source.readline()
        if not line.endswith(b"\n"):
            raise self.wrong("the export ends here; it was cut off")
        return line

    def more(self) -> bool:
        """Is there anything after the last line? If so, that counts as read."""
        more = bool(self._source.readline())
        self.line += more
        return more

    def wrong(self, why: object) -> LogDamaged:
        return LogDamaged(f"{self.file}, line {self.line}: {why}; nothing was imported")


def _unpack(source: _Source, new: Path, progress: Progress) -> tuple[lines.Foot, list[VerifyingKey]]:
    try:
        head = lines.read_head(source.next())
    except (ValueError, LogDamaged) as error:
        why = "it is empty" if isinstance(error, LogDamaged) else error
        raise LogForeign(f"{source.file} cannot be imported: {why}") from error
    make_log(new, head.log)
    share_like(new, source.file, narrow=True)
    tree = Tree()
    with closing(open_log(new)) as log:
        # Nothing of it counts before all of it was synced.
        wait_for_no_disk(log)
        events = iter(progress(_events(source, head.size), until=head.size))
        while batch := list(islice(events, _BATCH)):
            _append(log, batch, source)
            tree.extend([recorded.leaf for recorded in batch])
    foot, checkpoint, keys = _read_foot(source, head, tree.root())
    if checkpoint is not None and _root_at(new, checkpoint.size) != checkpoint.root:
        raise source.wrong("the events above do not agree with the checkpoint")
    return foot, keys


def _root_at(log: Path, size: int) -> bytes | None:
    """Return the root over so many events; none if there are not so many. Their leaves have been checked."""
    tree = Tree()
    with closing(open_reader(log)) as reader:
        events = reader.read(until=size)
        while batch := list(islice(events, _BATCH)):
            tree.extend([recorded.leaf for recorded in batch])
    return tree.root() if tree.size == size else None


def _events(source: _Source, size: int) -> Iterator[Recorded]:
    for position in range(1, size + 1):
        line = source.next()
        try:
            recorded = lines.read_event(line)
        except ValueError as error:
            raise source.wrong(error) from error
        if recorded.position != position:
            raise source.wrong(f"position {recorded.position} stands where {position} belongs")
        if not is_genuine(recorded):
            raise source.wrong("the event was changed since it was written")
        yield recorded


def _append(log: SqliteLog, batch: list[Recorded], source: _Source) -> None:
    """Append events; where that fails, find out which line is to blame."""
    try:
        if log.append(batch) == [recorded.position for recorded in batch]:
            return
    except (Conflict, Fenced):
        pass
    for recorded in batch:
        source.line = recorded.position + 1
        try:
            if log.append([recorded]) != [recorded.position]:
                raise source.wrong(f"the event {recorded.id} stands above already")
        except (Conflict, Fenced) as error:
            raise source.wrong(error) from error


def _read_foot(
    source: _Source, head: lines.Head, root: bytes
) -> tuple[lines.Foot, Checkpoint | None, list[VerifyingKey]]:
    line = source.next()
    try:
        foot, checkpoint, keys = lines.read_foot(line)
        signer = None if checkpoint is None else signer_of(foot.checkpoint.encode(), keys)
    except ValueError as error:
        raise source.wrong(error) from error
    if (foot.size, foot.root) != (head.size, root.hex()):
        raise source.wrong("size or root are not those of the events above")
    if checkpoint is not None and (signer is None or checkpoint.origin != origin_of(head.log)):
        raise source.wrong("the checkpoint is not signed by a key of this log")
    if source.more():
        raise source.wrong("the export has ended, but the file goes on")
    return foot, checkpoint, keys
