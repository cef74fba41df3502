"""What is kept of the ledger outside the log: the newest signed checkpoint, and the keys that vouch for checkpoints.

`<log>.checkpoint` is one signed note, replaced whole. `<log>.vkey` holds public keys, a line each; the newest is last.
An older line stays, so that what was signed before a copy was adopted can still be checked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import LogContradicted, LogUnavailable
from ..log.files import sync_folder
from .note import VerifyingKey


def checkpoint_path(log: Path) -> Path:
    return log.with_name(log.name + ".checkpoint")


def keys_path(log: Path) -> Path:
    return log.with_name(log.name + ".vkey")


def read_note(log: Path) -> bytes | None:
    """Return the newest checkpoint that stands beside a log, as a signed note; none if there is none.

    Raises:
        LogUnavailable: it cannot be read.
    """
    return _read(checkpoint_path(log))


def write_note(log: Path, note: bytes) -> None:
    """Let a signed note be the newest checkpoint; durable on return, and never half of it.

    Raises:
        LogUnavailable: it cannot be written.
    """
    _replace(checkpoint_path(log), note)


def read_keys(log: Path) -> list[VerifyingKey]:
    """Return the public keys that stand beside a log.

    Raises:
        LogUnavailable: they cannot be read.
        LogContradicted: a line is no key.
    """
    path = keys_path(log)
    try:
        return [VerifyingKey.parse(line) for line in (_read(path) or b"").decode().splitlines() if line.strip()]
    except ValueError as error:
        raise LogContradicted(f"{path} does not hold keys: {error}; bring back the right file") from error


def add_key(log: Path, key: VerifyingKey) -> None:
    """Let a public key stand beside a log, as the newest.

    Raises:
        LogUnavailable: it cannot be written.
    """
    keys = read_keys(log)
    if key not in keys:
        write_keys(log, [*keys, key])


def write_keys(log: Path, keys: Sequence[VerifyingKey]) -> None:
    """Let these public keys, and no others, stand beside a log; the newest is last.

    Raises:
        LogUnavailable: they cannot be written.
    """
    _replace(keys_path(log), "".join(f"{key}\n" for key in keys).encode())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be read ({error.strerror}); check its rights") from error


def _replace(path: Path, content: bytes) -> None:
    # The new bytes are on the disk before they bear the name: after a power cut the old file is there, or the new one.
    new = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            while content:  # a disk that is nearly full takes a part, and says so alone by the count
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(f"{path} cannot be written ({error.strerror}); check the disk and its rights") from error
