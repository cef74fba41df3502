"""A Merkle tree over leaves that only ever become more (RFC 6962, section 2.1), in the space of its right edge.

For n leaves it keeps the roots of at most log2(n) whole subtrees, one for each bit that is set in n; what lies inside
them never changes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

EMPTY_ROOT: Final = sha256(b"").digest()
"""Of a tree without leaves."""


def parent(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node from those of its children."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree that grows. Leaves go in as their hashes."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        """Leaves so far."""
        self._peaks: list[bytes | None] = []
        """For each height the root of a subtree of 2^height leaves that waits for its neighbour, if one does."""

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaves."""
        self.size += len(leaves)
        nodes, height = list(leaves), 0
        while nodes:
            if height == len(self._peaks):
                self._peaks.append(None)
            if (waiting := self._peaks[height]) is not None:
                nodes.insert(0, waiting)
            self._peaks[height] = nodes.pop() if len(nodes) % 2 else None
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            nodes = [sha256(b"\1" + left + right).digest() for left, right in pairs]
            height += 1

    def root(self) -> bytes:
        """Return the hash that stands for all leaves and their order."""
        root = b""
        for peak in self._peaks:
            if peak is not None:
                root = parent(peak, root) if root else peak
        return root or EMPTY_ROOT

    def dump(self) -> bytes:
        """Write the tree down, as far as it can still change."""
        return msgspec.json.encode(_Kept(self.size, self._peaks))

    @staticmethod
    def load(kept: bytes) -> Tree:
        """Read what `dump` wrote.

        Raises:
            ValueError: that is no tree.
        """
        try:
            read = msgspec.json.decode(kept, type=_Kept)
        except msgspec.DecodeError as error:
            raise ValueError(f"this is no tree: {error}") from error
        tree = Tree()
        tree.size, tree._peaks = read.size, read.peaks
        sizes = sum(1 << height for height, peak in enumerate(read.peaks) if peak is not None)
        if sizes != read.size or any(peak is not None and len(peak) != 32 for peak in read.peaks):
            raise ValueError(f"a tree of {read.size} leaves does not have these peaks")
        return tree


class _Kept(msgspec.Struct, frozen=True):
    size: int
    peaks: list[bytes | None]
