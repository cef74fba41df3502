"""Checkpoints (c2sp.org/tlog-checkpoint): how many events a log has, and the root of its tree over them.

stationkeeper/<id of the log>
<number of events>
<base64 of the root>
"""

from __future__ import annotations

from base64 import b64decode, b64encode

from attrs import frozen

from .note import SigningKey, text_of


@frozen
class Checkpoint:
    """A claim about a log."""

    origin: str
    """Which log; see `origin_of`."""
    size: int
    """Events, and so the position of the newest one."""
    root: bytes

    def signed(self, key: SigningKey) -> bytes:
        """Return it as a note signed by a key."""
        return key.sign(f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode())

    @staticmethod
    def parse(note: bytes) -> Checkpoint:
        """Read what a note claims, whoever signed it.

        Raises:
            ValueError: it is no checkpoint.
        """
        try:
            origin, size, root, *_ = text_of(note).decode().split("\n")
            found = Checkpoint(origin, int(size), b64decode(root, validate=True))
            if not origin or len(found.root) != 32 or found.size < 0 or str(found.size) != size:
                raise ValueError(size)
        except ValueError as error:
            raise ValueError("this is no signed checkpoint") from error
        return found


def origin_of(log_id: str) -> str:
    """Return a log's name in its checkpoints, and of its key."""
    return f"stationkeeper/{log_id}"
