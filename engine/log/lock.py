"""One writer per log: an advisory lock on `<log>.lock`, which says who holds it.

The lock is the kernel's (flock): it ends with the process, however that ends. The file stays, because removing it
would let two writers lock two files of the same name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path

from ..clock import rfc3339
from ..errors import LogLocked, LogUnavailable


class WriterLock:
    """The right to write a log, held until `release`."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the log at *path*.

        Raises:
            LogLocked: somebody else holds it; the message says who.
            LogUnavailable: the lock file cannot be made.
        """
        self.path = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogUnavailable(
                f"{path} cannot be written: its lock file {self.path} cannot be opened ({error.strerror}); "
                "check the rights of the folder, and how the file system is mounted"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(self._file)
            os.close(self._file)
            raise LogLocked(f"{path} is being written by {holder}; stop it, or read the log without writing") from error
        self._held = True
        self._sign()

    def _sign(self) -> None:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": rfc3339(time.time_ns() // 1000),
            # The program's name alone: arguments may hold what is nobody's business.
            "command": Path(sys.argv[0] if sys.argv else "python").name,
        }
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(holder).encode() + b"\n", 0)
        except OSError:
            return  # A full disk: the lock holds all the same; only its holder stays unnamed.

    def release(self) -> None:
        """Give the lock up. Twice is harmless."""
        if self._held:
            self._held = False
            os.close(self._file)


def _read_holder(file: int) -> str:
    try:
        holder = json.loads(os.pread(file, 4096, 0))
        return f"process {holder['pid']} ({holder['command']}) on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
