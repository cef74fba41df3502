"""What the registrar refuses, and why.

StationkeeperError
└── Refused                  the request cannot be carried out; nothing was changed
    ├── NotFound             there is no such station, webhook or message (HTTP 404)
    ├── AlreadyThere         there is one by that id already (HTTP 409)
    ├── StillPending         the message has not been settled yet (HTTP 409)
    ├── AlreadySettled       the message is pending no more (HTTP 409)
    ├── InConfiguration      the configuration says what it is (HTTP 409)
    ├── SecretsMissing       the log is a copy without its secrets, so none can be kept (HTTP 409)
    └── Invalid              a field cannot be as it was given (HTTP 422; command line: exit code 2)
"""

from __future__ import annotations

from ...engine.errors import StationkeeperError


class Refused(StationkeeperError):
    """A request cannot be carried out. Nothing was changed; the message says what would be right."""


class NotFound(Refused):
    """There is no such station, webhook or message."""


class AlreadyThere(Refused):
    """There is one by that id already. Change it instead."""


class StillPending(Refused):
    """A message that has not been settled cannot be asked for again."""


class AlreadySettled(Refused):
    """A message that is pending no more cannot be skipped."""


class InConfiguration(Refused):
    """What the configuration says would be back at the next start. Change it there."""


class SecretsMissing(Refused):
    """The log is a copy without its secrets file: a secret handed out now would be good for nobody after a restart."""

    def __init__(self) -> None:
        super().__init__("this log is a copy without its secrets; serve it with --adopt once")


class Invalid(Refused):
    """A field of the request cannot be as it was given."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        """Which; empty where the message alone says so."""
