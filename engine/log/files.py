"""The files of a SQLite log, handled from outside SQLite: a birth that is whole or not at all, and synced bytes.

Nothing here opens the database file itself: closing any descriptor of it in this process would drop the POSIX locks
that SQLite holds on it. The `-wal` bears no such locks.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ..errors import LogDamaged, LogForeign, LogMissing, LogNewer, LogUnavailable
from .driver import APPLICATION_ID, LAYOUT, wal_of

_CHUNK: Final = 1 << 20


def check_place(path: Path) -> None:
    """Check that a log can be at this place.

    Raises:
        LogMissing: its folder does not exist.
        LogForeign: something other than a file is there.
    """
    if path.exists() and not path.is_file():
        raise LogForeign(f"{path} is no file; name a file for the log, e.g. {path / 'stationkeeper.db'}")
    if not path.parent.is_dir():
        raise LogMissing(f"the folder {path.parent} does not exist; make it, or name another place for the log")


def is_absent(path: Path) -> bool:
    """Return whether there is no log yet at this place: no file, or an empty one.

    Raises:
        LogDamaged: there is none, but a write-ahead log of one, which may hold acknowledged events; or one that a
            restore was about to put there.
    """
    if path.exists() and path.stat().st_size > 0:
        return False
    if pending_restore(path).exists():
        raise LogDamaged(
            f"{path} is gone, for a restore of it was cut off; stationkeeper restore {path.name} {path.name} ends it"
        )
    wal = wal_of(path)
    if wal.exists() and wal.stat().st_size > 0:
        raise LogDamaged(
            f"{path} is gone, but {wal.name} beside it may hold events of it; bring {path.name} back, "
            f"or move {wal.name} away to begin a new log"
        )
    return True


def pending_restore(path: Path) -> Path:
    """Return where a log that is restored stands, whole, until it takes the place of the one at *path*."""
    return path.with_name(path.name + ".restoring")


def publish(new: Path, path: Path) -> None:
    """Give a whole file its real name; durable on return, as are its bytes.

    Raises:
        LogUnavailable: the folder cannot be written.
    """
    sync_file(new)
    try:
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be written ({error.strerror}); check its folder") from error


def make_like(path: Path, like: Path) -> None:
    """Make an empty file that nobody may read who may not read the one that its bytes come from.

    The umask may take away more. Root makes it for who owns the other one.

    Raises:
        LogUnavailable: it cannot be made, or is there already.
    """
    try:
        found = like.stat()
        mode = found.st_mode & 0o666 | 0o600
        # With its mode from the first moment: a chmod once it is written would leave a gap.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if os.geteuid() == 0:
                os.fchown(descriptor, found.st_uid, found.st_gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be made ({error.strerror}); check the rights of its folder") from error


def share_like(path: Path, like: Path, *, narrow: bool = False) -> None:
    """Let those read and write a file who may read and write another one; with *narrow* nobody who may not already.

    Raises:
        LogUnavailable: its rights cannot be changed.
    """
    try:
        found = like.stat()
        mode = found.st_mode & 0o666 | 0o600
        path.chmod(mode & path.stat().st_mode if narrow else mode)
        if os.geteuid() == 0:
            os.chown(path, found.st_uid, found.st_gid)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be given the rights of {like} ({error.strerror})") from error


def sync_file(file: Path) -> None:
    """Make a file's bytes durable. No connection to it may be open: this would drop its locks.

    Raises:
        LogUnavailable: they cannot be synced.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LogUnavailable(f"{file} cannot be synced to the disk ({error.strerror}); check the disk") from error


def check_application(found: int, path: Path) -> None:
    """Check the application id in a database's header.

    Raises:
        LogForeign: it is not ours.
    """
    if found != APPLICATION_ID:
        raise LogForeign(
            f"{path} is a SQLite database of another program (application_id {found}); it was left as it is"
        )


def check_newer(layout: int, path: Path) -> None:
    """Check a log's `user_version`.

    Raises:
        LogNewer: this release does not know it.
    """
    if layout > LAYOUT:
        raise LogNewer(
            f"{path} has layout {layout}, written by a newer release; this one knows {LAYOUT}: upgrade Stationkeeper"
        )


def rewrite_wal(path: Path) -> None:
    """Write the bytes of the `-wal` over themselves, and sync them and the folder.

    After a failed fsync the kernel may hold pages that it believes clean though the disk never got them: later syncs
    would succeed, and acknowledged events be lost with the power. Bytes that are written again are dirty again.

    Raises:
        LogUnavailable: they cannot be written or synced.
    """
    wal = wal_of(path)
    try:
        if wal.exists():
            _rewrite(wal)
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(
            f"{wal} cannot be synced to the disk ({error.strerror}); check the disk, its free space and its rights"
        ) from error


def keep_names(path: Path) -> None:
    """Make the names of a log's files durable, once SQLite has made its `-wal`.

    SQLite syncs the folder as well, but overlooks that this fails: what is then acknowledged would stand in a file
    whose name is gone with the power.

    Raises:
        LogUnavailable: they cannot be synced.
    """
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(
            f"{path.parent} cannot be synced to the disk ({error.strerror}); check the disk"
        ) from error


def _rewrite(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        offset = 0
        while chunk := os.pread(descriptor, _CHUNK, offset):
            offset += os.pwrite(descriptor, chunk, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(file: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        LogUnavailable: it cannot be removed.
    """
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise LogUnavailable(f"{file} cannot be removed ({error.strerror}); check its folder") from error


@contextmanager
def erasing(file: Path) -> Generator[None]:
    """Overwrite the bytes of a file, if it is there, once a block has taken its name away without an error.

    Where they still have another name (a hard link) they stay. It is done as far as it can be: the file may be
    read-only, and some file systems and disks write elsewhere what is to overwrite.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        yield
        with suppress(OSError):  # nobody finds them by a name any more
            found = os.fstat(descriptor)
            left = 0 if found.st_nlink else found.st_size
            while left > 0:
                left -= os.write(descriptor, bytes(min(left, _CHUNK)))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a new file whose name is lost is lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
