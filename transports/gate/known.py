"""Who was let in before, remembered in a fixed number of bytes, and now and then wrongly of one who was not."""

from __future__ import annotations

from typing import Final

_BITS: Final = 20
_MASK: Final = (1 << _BITS) - 1
_SHIFTS: Final = (0, _BITS, 2 * _BITS)
"""Three places a name, out of the 64 bits of its hash."""


class Known:
    """A Bloom filter of 128 KiB: of 50 000 names it forgets none, and takes one stranger in 400 for one of them.

    It is salted as the hash of `str` is, anew in each process, so that nobody can find out who will be taken for whom.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_BITS - 3))

    def add(self, name: str) -> None:
        """Remember a name."""
        key = hash(name)
        for shift in _SHIFTS:
            place = key >> shift & _MASK
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, name: str) -> bool:
        key = hash(name)
        return all(self._bits[(place := key >> shift & _MASK) >> 3] & 1 << (place & 7) for shift in _SHIFTS)
