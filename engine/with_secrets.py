"""A log opened for writing together with its secrets; a new one is begun only where no other one has left its own.

A log that is gone (moved, deleted, its disk not mounted) leaves its secrets and its checkpoint behind. A new, empty
log that took its place there would take the secrets over, and what names none of them any more forgets them for good.
So a start looks at what stands there before it writes anything, and refuses.
"""

from __future__ import annotations

from pathlib import Path

from .errors import LogContradicted, LogMissing
from .ledger import outside
from .ledger.checkpoint import Checkpoint, origin_of
from .log.secrets import SecretsFile, belong, open_secrets, secrets_path
from .log.secrets_file import head_of
from .log.secrets_key import KeySource
from .log.sqlite import SqliteLog


def open_with_secrets(
    path: Path, *, adopt: bool = False, key: KeySource | None = None
) -> tuple[SqliteLog, SecretsFile | None]:
    """Open a log, which is made if there is none, with its secrets; None for these: it is a copy, and sends nothing.

    With *adopt* a copy gets secrets, and speaks from now on; and a new log may take over those of another.

    Raises:
        LogMissing: the log is gone, or new and empty, but another one's secrets or checkpoint stand beside it; nothing
            was written.
        LogContradicted: the log is to be adopted, but the checkpoint beside it is of another; nothing was written.
        LogError: as `SqliteLog.open` and `open_secrets`.
    """
    kept = SqliteLog.open(path, before_making=lambda: _check_left(path, "", adopt=adopt))
    try:
        new = kept.position == 0
        if new:
            _check_left(path, kept.log_id, adopt=adopt)
        elif adopt and _checkpoint_of_another(path, kept.log_id):
            raise LogContradicted(
                f"{outside.checkpoint_path(path)} is a checkpoint of another log, so this one is not adopted. Bring "
                f"back the right file, or restore this one (stationkeeper restore {path.name} {path.name})"
            )
        return kept, open_secrets(path, kept.log_id, create=adopt or new, key=key)
    except BaseException:
        kept.close()
        raise


def _check_left(path: Path, log_id: str, *, adopt: bool) -> None:
    """Check that nothing stands beside a log without events that is not its own; without an id it is not there yet.

    Raises:
        LogMissing: another log's secrets are there, and nobody said to take them over, or its checkpoint.
        LogError: what is there cannot be read.
    """
    secrets = None if adopt or not _secrets_of_another(path, log_id) else secrets_path(path).name
    checkpoint = outside.checkpoint_path(path).name if _checkpoint_of_another(path, log_id) else None
    left = [name for name in (secrets, checkpoint) if name is not None]
    if not left:
        return
    names = " and ".join(left)
    lost = f"{path} is new and empty" if log_id else f"there is no log at {path}"
    taken = (
        "" if checkpoint else ", or let it take the secrets over (serve --adopt), which forgets what it does not name"
    )
    raise LogMissing(
        f"{lost}, but {names} beside it {'is' if len(left) == 1 else 'are'} of another log. Bring that one back (was "
        f"it moved, is its disk mounted?), or restore a backup (stationkeeper restore BACKUP {path.name}). To begin a "
        f"new log here, move {names} away{taken}"
    )


def _secrets_of_another(path: Path, log_id: str) -> bool:
    # One without a layout is empty: a crash left it, and it is filled.
    return secrets_path(path).exists() and not belong(path, log_id) and head_of(secrets_path(path)).layout > 0


def _checkpoint_of_another(path: Path, log_id: str) -> bool:
    """Return whether a checkpoint beside a log is not of it, or is none at all."""
    note = outside.read_note(path)
    try:
        return note is not None and Checkpoint.parse(note).origin != origin_of(log_id)
    except ValueError:
        return True
