"""A second verifier of logs, which shares nothing with ours but the documentation.

It reads the file with Python's own sqlite3, in a copy; computes leaves as docs/reference/log-format.md says, the tree
by the recursion of RFC 6962, section 2.1, and signatures by RFC 8032, section 5.1.7, in plain integers.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

COLUMNS = ("id", "at", "kind", "schema", "subject", "gateway", "run", "actor", "body")


@frozen
class Row:
    """An event as it stands in the file."""

    position: int
    content: bytes
    """What the leaf is made of, without the prefix of a leaf."""
    stored: bytes
    """The leaf beside it."""
    private: tuple[bytes, bytes, bytes]

    @property
    def leaf(self) -> bytes:
        return hashlib.sha256(b"\0" + self.content).digest()


def rows(log: Path) -> list[Row]:
    """Read the events of a log from a copy of its files."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.db")
        shutil.copy(log, copy)
        wal = log.with_name(log.name + "-wal")
        if wal.exists():
            shutil.copy(wal, folder + "/copy.db-wal")
        with closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            return [_row(row) for row in connection.execute("SELECT * FROM event ORDER BY position")]


def _row(row: Any) -> Row:
    private = row["digest"] or hashlib.sha256(row["salt"] + row["private"]).digest()
    content = b"".join(_lp(row[column]) for column in COLUMNS) + private
    return Row(row["position"], content, row["leaf"], (row["private"], row["salt"], row["digest"]))


def _lp(value: str | int | bytes) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    return len(data).to_bytes(4, "big") + data


def first_wrong(found: Sequence[Row]) -> int | None:
    """Return the first position that is missing, or whose leaf is not beside it."""
    for expected, row in enumerate(found, start=1):
        if row.position != expected or row.leaf != row.stored:
            return expected
    return None


def root(leaves: Sequence[bytes]) -> bytes:
    """Return MTH of leaves that were hashed already."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return _parent(root(leaves[:split]), root(leaves[split:]))


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_by_path(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Return the root that an audit path leads to, by the recursion of RFC 6962, section 2.1.1."""
    if size == 1:
        assert path == []
        return leaf
    split = 1
    while split * 2 < size:
        split *= 2
    if index < split:
        return _parent(root_by_path(index, split, leaf, path[:-1]), path[-1])
    return _parent(path[-1], root_by_path(index - split, size - split, leaf, path[:-1]))


def opened(note: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Return origin, size and root of a checkpoint, once a key's signature of it was checked."""
    text, signatures = note.decode().split("\n\n")
    name, _, key = vkey.strip().split("+", 2)
    public = base64.b64decode(key)[1:]
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        data = base64.b64decode(signature)
        assert dash == "\N{EM DASH}"
        if signer == name and data[:4] == hashlib.sha256(f"{name}\n".encode() + b"\1" + public).digest()[:4]:
            assert signed(public, (text + "\n").encode(), data[4:])
            origin, size, hash = text.split("\n")
            return origin, int(size), base64.b64decode(hash)
    raise AssertionError("not signed by that key")


def check_proof(proof: bytes, vkey: str) -> tuple[int, bytes]:
    """Return the position and the content that a tlog-proof proves."""
    head, note = proof.split(b"\n\n", 1)
    first, extra, index, *path = head.decode().split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    assert (extra[:6], index[:6]) == ("extra ", "index ")
    content, at = base64.b64decode(extra[6:]), int(index[6:])
    _, size, claimed = opened(note, vkey)
    leaf = hashlib.sha256(b"\0" + content).digest()
    assert root_by_path(at, size, leaf, [base64.b64decode(line) for line in path]) == claimed
    return at + 1, content


# --- Ed25519 (RFC 8032), slowly --------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def _add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def _times(point: Point, factor: int) -> Point:
    found = (0, 1)
    while factor:
        if factor & 1:
            found = _add(found, point)
        point, factor = _add(point, point), factor >> 1
    return found


def _point(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0
    return (P - x if x & 1 != sign else x), y


BASE = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signed(public: bytes, text: bytes, signature: bytes) -> bool:
    """Return whether an Ed25519 signature is that of a text by a key."""
    scalar = int.from_bytes(signature[32:], "little")
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), "little") % ORDER
    right = _add(_point(signature[:32]), _times(_point(public), challenge))
    return scalar < ORDER and _times(BASE, scalar) == right
