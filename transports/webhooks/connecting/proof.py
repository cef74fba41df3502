"""Whose fault is silence? Ours, unless what all attempts share, a name server or a proxy, lately served another."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import trio

PROOF_SECONDS: Final = 60.0
"""How long what was done for one receiver shows that the same could be done for another."""


class Proof:
    """Who was served lately."""

    def __init__(self) -> None:
        self._served: OrderedDict[str, float] = OrderedDict()
        """The last two, and when: one is another than whoever asks."""

    def served(self, whom: str) -> None:
        """Note that somebody was served just now."""
        self._served[whom] = trio.current_time()
        self._served.move_to_end(whom)
        if len(self._served) > 2:
            self._served.popitem(last=False)

    def another_than(self, whom: str) -> bool:
        """Return whether somebody else was served within the last `PROOF_SECONDS`."""
        since = trio.current_time() - PROOF_SECONDS
        return any(at > since for name, at in self._served.items() if name != whom)
