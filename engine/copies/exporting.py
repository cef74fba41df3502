"""Export: a log's events as lines of JSON, each checked as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import LogForeign, LogUnavailable
from ..ledger import outside
from ..ledger.checkpoint import origin_of
from ..ledger.keeper import vouched
from ..log.copying import whole_or_absent
from ..log.files import check_place, make_like, publish, remove
from ..log.reading import open_reader
from . import lines
from .witness import Progress, Witness, no_progress


def export_lines(log: Path, *, redacted: bool = False, progress: Progress = no_progress) -> Iterator[bytes]:
    """Yield the lines of an export, up to the log's end as it is now. The log is only read, beside a daemon too.

    With *redacted* the private parts are left out, as if all of them had been redacted.

    Raises:
        LogContradicted: an event was changed, or the log does not agree with its checkpoint; what was yielded by then
            has no last line, so that nobody takes it for whole.
        LogError: the log cannot be read.
    """
    with closing(open_reader(log)) as reader:
        # Before the end is looked up, so that it is beyond none of what the checkpoint speaks of.
        note, keys = outside.read_note(log), outside.read_keys(log)
        known = None if note is None else vouched(log, note, origin_of(reader.log_id))
        size = reader.position
        yield lines.write_head(reader.log_id, size)
        witness = Witness(str(log), known)
        for recorded in witness.watch(progress(reader.read(until=size), until=size)):
            yield lines.write_event(recorded, redacted=redacted)
        yield lines.write_foot(size, witness.tree.root(), note, keys)


def export(log: Path, file: Path, *, redacted: bool = False, progress: Progress = no_progress) -> int:
    """Write an export to a file that is not there yet, and return how many events it holds.

    Raises:
        LogForeign: something stands there.
        LogError: as `export_lines`; and if the file cannot be written.
    """
    check_place(file)
    if file.exists():
        raise LogForeign(f"{file} is there already; name another place, or move it away")
    new = file.with_name(file.name + ".new")
    count = -2
    with whole_or_absent(new):
        try:
            remove(new)
            make_like(new, log)
            with new.open("wb") as written:
                for line in export_lines(log, redacted=redacted, progress=progress):
                    written.write(line)
                    count += 1
        except OSError as error:
            raise LogUnavailable(f"{file} cannot be written ({error.strerror}); check the disk") from error
        publish(new, file)
    return count
