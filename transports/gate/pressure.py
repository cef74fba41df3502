"""Pressure: whether our loop answers in time, and so whether more peers can be attended to now.

While it does not, those who wait are left to the kernel: its queue costs us nothing, and everybody in it still has the
whole time for its handshake, which begins at the accept. But never for long: a queue of which nobody is taken fills,
and then the kernel turns away whom nobody has seen.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Ease:
    """When our loop counts as late. Seconds."""

    late: float = 0.05
    """Nobody is accepted from the moment that the loop was late by so much ..."""
    relieved: float = 0.025
    """... to the moment at which it was late by less than this."""
    patience: float = 1.0
    """The longest that nobody is accepted; then some are, whatever the loop is like."""
    pause: float = 0.01
    """Until one asks again. How late one comes back tells how late the loop is."""


class Pressure:
    """Says whether peers may be accepted, by how late our loop was."""

    def __init__(self, ease: Ease | None = None) -> None:
        self._ease = ease or Ease()
        self._held_since: float | None = None

    @property
    def held(self) -> bool:
        """Whether peers are left to wait."""
        return self._held_since is not None

    def woke(self, late: float, now: float) -> None:
        """Note that a task of ours ran *late* seconds after it could have."""
        if late >= self._ease.late:
            if self._held_since is None:
                self._held_since = now
        elif late < self._ease.relieved:
            self._held_since = None

    def wait(self, now: float) -> float:
        """Return the seconds to wait until this is asked again; 0: accept some peers now."""
        if self._held_since is None:
            return 0.0
        left = self._held_since + self._ease.patience - now
        if left <= 0:
            self._held_since = now
            return 0.0
        return min(self._ease.pause, left)
