"""The limits of time that an attempt is under, one at a time, and the words for the one that ran out."""

from __future__ import annotations

import trio


class Patience:
    """One scope for a whole attempt, whose deadline follows the stage that the attempt is in.

    A scope for each limit would cost more than all else that an exchange does in Python.
    """

    def __init__(self, total: float) -> None:
        """Begin an attempt that may take *total* seconds; enter `scope` around it."""
        self.began = trio.current_time()
        self.stage = ""
        self._total = total
        self._end = self.began + total
        self._seconds = total
        self.scope = trio.CancelScope(deadline=self._end)

    def enter(self, stage: str, seconds: float | None = None) -> None:
        """Say what the attempt does next, in words, and how long this may take if less than the rest of the whole."""
        self.stage = stage
        end = self._end
        if seconds is not None:
            self._seconds = seconds
            end = min(end, trio.current_time() + seconds)
        if self.scope.deadline != end:
            self.scope.deadline = end

    def overdue(self) -> str:
        """Return, after the scope was cancelled, which limit that was."""
        if self.scope.deadline < self._end:
            return f"{self.stage} took more than {self._seconds:g} s"
        return f"the attempt took more than {self._total:g} s in all; it ended during: {self.stage}"
