"""The tree and proofs about it, against RFC 6962's own words and published values."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.engine.ledger.proofs import prove_consistency, prove_inclusion, root_with, roots_with
from stationkeeper.engine.ledger.tree import EMPTY_ROOT, Tree

DATA = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The roots of the first 1, 2, ... 8 of these data, as implementations of Certificate Transparency publish them."""


def leaves_of(count: int) -> list[bytes]:
    return [sha256(b"\0" + number.to_bytes(4, "big")).digest() for number in range(count)]


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    tree.extend(leaves)
    return tree


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it stands there, over leaves that are hashed already."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(1 << bit for bit in range(20) if 1 << bit < len(leaves))
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = max(1 << bit for bit in range(20) if 1 << bit < len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = max(1 << bit for bit in range(20) if 1 << bit < len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_the_published_roots() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT == bytes.fromhex(
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )  # fmt: skip
    for data, root in zip(DATA, ROOTS, strict=True):
        tree.extend([sha256(b"\0" + data).digest()])
        assert tree.root().hex() == root


@given(st.lists(st.integers(0, 40), max_size=8))
def test_the_root_is_that_of_the_rfc_however_the_leaves_came(batches: list[int]) -> None:
    leaves = leaves_of(sum(batches))
    tree, rest = Tree(), list(leaves)
    for batch in batches:
        tree.extend(rest[:batch])
        del rest[:batch]

    assert (tree.size, tree.root()) == (len(leaves), mth(leaves))


@given(st.integers(0, 70), st.integers(0, 30))
def test_a_tree_that_was_written_down_grows_on(before: int, after: int) -> None:
    leaves = leaves_of(before + after)
    tree = Tree.load(tree_of(leaves[:before]).dump())
    assert (tree.size, tree.root()) == (before, mth(leaves[:before]))
    tree.extend(leaves[before:])

    assert tree.root() == mth(leaves)


@pytest.mark.parametrize("kept", [b"", b"{}", b'{"size":3,"peaks":[]}', b'{"size":1,"peaks":["AAAA"]}'])
def test_what_is_no_tree_is_not_taken_for_one(kept: bytes) -> None:
    with pytest.raises(ValueError, match="tree"):
        Tree.load(kept)


@given(st.data())
def test_an_inclusion_proof_is_that_of_the_rfc_and_leads_to_the_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = prove_inclusion(iter(leaves + leaves_of(3)), index, size)

    assert proof == path(index, leaves)
    assert root_with(leaves[index], index, size, proof) == mth(leaves)


@given(st.data())
def test_a_false_inclusion_proof_leads_elsewhere(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof, root = prove_inclusion(leaves, index, size), mth(leaves)
    spoilt = list(proof)
    at = data.draw(st.integers(0, len(proof) - 1))
    spoilt[at] = sha256(spoilt[at]).digest()

    assert root_with(leaves[index], index, size, spoilt) != root
    assert root_with(sha256(b"other").digest(), index, size, proof) != root
    for wrong in (proof[:-1], [*proof, root]):
        with pytest.raises(ValueError, match=r"too (short|long)"):
            root_with(leaves[index], index, size, wrong)
    if other != index and len(path(other, leaves)) == len(proof):
        assert root_with(leaves[index], other, size, proof) != root


@given(st.data())
def test_a_consistency_proof_is_that_of_the_rfc_and_leads_to_both_roots(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    older = data.draw(st.integers(1, size))
    leaves = leaves_of(size)
    proof = prove_consistency(leaves, older, size)
    roots = mth(leaves[:older]), mth(leaves)

    assert proof == subproof(older, leaves, True)
    assert roots_with(older, roots[0], size, proof) == roots
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        spoilt = [*proof[:at], sha256(proof[at]).digest(), *proof[at + 1 :]]
        assert roots_with(older, roots[0], size, spoilt) != roots
        with pytest.raises(ValueError, match="instead of"):
            roots_with(older, roots[0], size, proof[:-1])


def test_what_cannot_be_proved_is_refused() -> None:
    for index, size in ((3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="has none at index"):
            prove_inclusion(leaves_of(3), index, size)
        with pytest.raises(ValueError, match="has none at index"):
            root_with(leaves_of(1)[0], index, size, [])
    for older in (0, 4):
        with pytest.raises(ValueError, match="does not continue"):
            prove_consistency(leaves_of(3), older, 3)
        with pytest.raises(ValueError, match="does not continue"):
            roots_with(older, b"", 3, [])
    with pytest.raises(ValueError, match="fewer than"):
        prove_inclusion(leaves_of(2), 0, 3)
