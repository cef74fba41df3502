"""What an answer means for its message and its webhook."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["delivered", "parked", "failed", "dropped", "put back"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer means for its message and its webhook."""

    outcome: Outcome
    """`delivered` and `parked` are to be recorded, and the lane stands until `recorded`; `failed` is tried again;
    `put back` is tried again too, and was no attempt, as the trouble was ours; `dropped` is a failure of which nobody
    wants to know any more, because the webhook was removed or the message is owed no more."""
    attempts: int
    """Attempts in this round, this one included if it was one."""
    delay: float = 0.0
    """For `failed` and `put back`: seconds until the next attempt may begin."""
    put_off: float = 0.0
    """For `failed`: seconds by which Retry-After has put the message off so far, in all."""
    disable: str = ""
    """Why the webhook must be disabled now; empty if it need not."""
