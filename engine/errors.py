"""Everything that Stationkeeper raises on purpose.

The tree:

    StationkeeperError
    ├── LogError                 the log cannot be used as asked
    │   ├── LogLocked            another process writes it
    │   ├── LogMissing           there is no such file
    │   ├── LogForeign           it is not a Stationkeeper log
    │   ├── LogNewer             a newer release wrote it
    │   ├── LogDamaged           its content contradicts itself
    │   │   └── LogContradicted  its content contradicts a checkpoint that was kept outside
    │   ├── LogUnavailable       it cannot be written for now: full disk, I/O error, locked file
    │   ├── SecretsExposed       others may read the secrets beside it, or their key
    │   ├── SecretsSealed        the key of the secrets beside it is not here
    │   ├── Conflict             the same event id with other bytes
    │   └── Fenced               the run that appends has ended
    ├── UnreadableEvent          bytes that are no event of their kind
    ├── NewerSchema              a projection folds this kind, but not as new a schema of it
    ├── FellBehind               a subscriber read too slowly; it says where to read on
    ├── ClockBehind              the wall clock stands behind the log
    └── WrongSetting             a configuration value cannot be used; it says which and what would be right
"""

from __future__ import annotations


class StationkeeperError(Exception):
    """The root of all errors that Stationkeeper raises on purpose."""


class LogError(StationkeeperError):
    """The log cannot be used as asked. The command line ends with exit code 3."""


class LogLocked(LogError):
    """Another process writes this log. Stop it, or read the log without writing."""


class LogMissing(LogError):
    """There is no log at that place. Check the path."""


class LogForeign(LogError):
    """The file is not a Stationkeeper log; it was left as it is."""


class LogNewer(LogError):
    """A newer release wrote this log. Run that release, or a later one."""


class LogDamaged(LogError):
    """What the log holds contradicts itself. Keep the file, and restore from a backup."""


class LogContradicted(LogDamaged):
    """The log is not the one that its newest outside checkpoint speaks of: it was cut, rolled back or changed."""


class LogUnavailable(LogError):
    """The log cannot be written for now (full disk, I/O error, locked file).

    Whether the append that raised this took place is *unknown*: append the same event again, under the same id.
    """


class SecretsExposed(LogError):
    """Others than its owner may read the secrets file. Take their rights away, and consider the secrets known."""


class SecretsSealed(LogError):
    """The secrets stand under a key that is not here. Bring it back; the message says which, and where it is sought."""


class Conflict(LogError):
    """An event with this id is in the log with other bytes; nothing of the batch was written."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the log already holds event {id!r} with other content; nothing of this batch was written")
        self.id = id


class Fenced(LogError):
    """The run that appends has ended (stopped, or found lost); nothing of the batch was written."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run!r} has ended and can append no more; nothing of this batch was written")
        self.run = run


class UnreadableEvent(StationkeeperError):
    """Stored bytes are no event of the kind that they claim to be."""


class NewerSchema(StationkeeperError):
    """A projection folds this kind, but a newer release wrote it in a schema that this one cannot read."""


class FellBehind(StationkeeperError):
    """A subscriber read too slowly and was cut off. Read on from the log, after `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(f"this subscriber fell behind; read on from the log, after position {position}")
        self.position = position


class ClockBehind(StationkeeperError):
    """The wall clock stands more than a minute behind the newest event of the log."""


class WrongSetting(StationkeeperError):
    """A configuration value cannot be used. The message names the key, the value and what would be right."""
