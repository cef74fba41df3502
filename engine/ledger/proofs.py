"""Proofs about a tree (RFC 6962, sections 2.1.1 and 2.1.2): that it holds a leaf, and that it continues an older one.

Making one reads the leaves once, in order, and keeps no more of them than the proof itself has hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .tree import Tree, parent

Span = tuple[int, int]
"""Leaves, from the first up to but not with the second index."""


def prove_inclusion(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """Return the audit path of the leaf at *index*, counted from 0, in the tree of the first *size* leaves.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has none at index {index}")
    return _roots(leaves, list(_beside(index, 0, size)))


def prove_consistency(leaves: Iterable[bytes], older: int, size: int) -> list[bytes]:
    """Return the proof that the tree of *size* leaves begins with the tree of the first *older* ones.

    Raises:
        ValueError: the older tree is empty, or not the smaller one.
    """
    if not 0 < older <= size:
        raise ValueError(f"a tree of {size} leaves does not continue one of {older}")
    return _roots(leaves, list(_continued(older, 0, size, whole=True)))


def root_with(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a tree of *size* leaves has if *leaf* is at *index* and *path* is true.

    Raises:
        ValueError: the path does not fit such a tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has none at index {index}")
    root, rest = leaf, list(path)
    for low, _ in _beside(index, 0, size):
        if not rest:
            raise ValueError("the proof is too short")
        root = parent(rest.pop(0), root) if low < index else parent(root, rest.pop(0))
    if rest:
        raise ValueError("the proof is too long")
    return root


def roots_with(older: int, older_root: bytes, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of both trees that follow from a consistency proof; it holds if they are the ones known before.

    Raises:
        ValueError: the proof does not fit trees of these sizes.
    """
    if not 0 < older <= size:
        raise ValueError(f"a tree of {size} leaves does not continue one of {older}")
    spans = list(_continued(older, 0, size, whole=True))
    if len(spans) != len(path):
        raise ValueError(f"the proof has {len(path)} hashes instead of {len(spans)}")
    known = dict(zip(spans, path, strict=True))
    if older == size or older & (older - 1) == 0:
        known[0, older] = older_root  # a whole subtree of both trees: its root need not stand in the proof
    return _root_from(known, 0, older), _root_from(known, 0, size)


def _root_from(known: dict[Span, bytes], low: int, high: int) -> bytes:
    if (low, high) in known:
        return known[low, high]
    middle = low + _split(high - low)
    return parent(_root_from(known, low, middle), _root_from(known, middle, high))


def _split(size: int) -> int:
    """Return the leaves of the left subtree: the largest power of two below the size."""
    return 1 << ((size - 1).bit_length() - 1)


def _beside(index: int, low: int, high: int) -> Iterator[Span]:
    """Yield the subtrees beside the way from a leaf up to the root, lowest first."""
    if high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            yield from _beside(index, low, middle)
            yield middle, high
        else:
            yield from _beside(index, middle, high)
            yield low, middle


def _continued(older: int, low: int, high: int, *, whole: bool) -> Iterator[Span]:
    """Yield the subtrees from which both roots follow, in the order of RFC 6962's SUBPROOF."""
    if older == high:
        if not whole:
            yield low, high
        return
    middle = low + _split(high - low)
    if older <= middle:
        yield from _continued(older, low, middle, whole=whole)
        yield middle, high
    else:
        yield from _continued(older, middle, high, whole=False)
        yield low, middle


def _roots(leaves: Iterable[bytes], spans: list[Span]) -> list[bytes]:
    """Return the roots of subtrees, in the order asked for, from one pass over the leaves."""
    found: dict[Span, bytes] = {}
    waiting = sorted(spans, reverse=True)
    tree = Tree()
    for index, leaf in enumerate(leaves):
        if not waiting:
            break
        low, high = waiting[-1]
        if index >= low:
            tree.extend((leaf,))
        if index + 1 == high:
            found[waiting.pop()] = tree.root()
            tree = Tree()
    if waiting:
        raise ValueError(f"there are fewer than {waiting[0][1]} leaves")
    return [found[span] for span in spans]
