"""Whether a log is sound, which position is wrong first, and how far it is vouched for from outside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen
from msgspec.structs import replace

from ...engine.clock import rfc3339
from ...engine.ledger import outside
from ...engine.ledger.checkpoint import origin_of
from ...engine.ledger.keeper import SNAPSHOT, VERSION
from ...engine.ledger.note import VerifyingKey
from ...engine.ledger.tree import EMPTY_ROOT
from ...engine.log import Snapshot, evidence
from ...engine.log.reading import open_reader
from .checkpoints import Keys, Vouched, checkpoints_of, keys_for
from .findings import Check, Found, Oddity, Root
from .leaves import BY_BYTES
from .passes import PROJECTIONS, Job, Pass, Tell
from .processes import run_all
from .replay import REPLAY

LONG: Final = 100_000
"""Events from which several processes are done sooner than one, in spite of their start."""

_ORDER: Final = ("positions", "leaves", "tables", "head", "ends", "times", "file", "schema", REPLAY, "snapshot")
"""The names of checks, or how these begin."""


@frozen
class Protection:
    """How far a log is vouched for from outside."""

    position: int
    """The last one; 0 if nothing is."""
    until: str
    """The time of the event there."""
    name: str
    """The file of the checkpoint that vouches for it."""


@frozen
class Report:
    """What an audit of a log found."""

    log: Path
    log_id: str
    position: int
    """Of the newest event."""
    checks: Sequence[Check]
    oddities: Sequence[Oddity]
    protection: Protection

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.state == "failed"]

    @property
    def sound(self) -> bool:
        """Did no check fail?"""
        return not self.failed

    @property
    def replayed(self) -> bool:
        """Could this release read all that it folds?"""
        return not any(check.name == REPLAY and check.state == "not checked" for check in self.checks)

    @property
    def first_wrong(self) -> Check | None:
        """The failed check that says where the first wrong position is; none if none of them knows.

        A snapshot that is wrong is no event; where nothing else is, its position is where it stands.
        """
        places = [check for check in self.failed if check.position is not None]
        places = [check for check in places if not check.name.startswith("snapshot")] or places
        first = min(places, key=_first, default=None)
        if first is None or first.at_most is None:
            return first
        exact = [check.position for check in places if check.at_most is None and check.position is not None]
        return replace(first, at_most=min([first.at_most, *exact]))


def _first(check: Check) -> tuple[int, bool]:
    """Order failed checks by their position; at the same one, what knows it exactly comes first."""
    return check.position or 0, check.at_most is not None


@frozen
class _Claims:
    """What a log and the files beside it say of themselves, at the begin of an audit."""

    log_id: str
    keys: Keys
    vouched: list[Vouched]
    snapshots: list[Snapshot]
    differing: frozenset[str]
    """The names of snapshots that do not fit the digest beside them."""
    until: int


def verify(log: str, *, files: Sequence[Path], keys: Sequence[VerifyingKey], replay: bool, tell: Tell) -> Report:
    """Audit a log, beside a live daemon or without one, and leave it byte for byte as it is.

    Raises:
        LogError: it cannot be read.
    """
    path, claims = _claims(log, files, keys)
    jobs = _jobs(log, claims, replay=replay)
    found = run_all(jobs, lambda seen: tell(seen))
    unknown = [check for one in claims.snapshots if (check := _unknown(one)) is not None]
    checks = _with_digests([*found.checks, *(unknown if replay else ())], claims.differing)
    checks = sorted(checks, key=_place) + _hold_against(claims, found, path)
    return Report(path, claims.log_id, claims.until, checks, found.oddities, _protection(claims.vouched, found.roots))


def _claims(log: str, files: Sequence[Path], given: Sequence[VerifyingKey]) -> tuple[Path, _Claims]:
    with closing(open_reader(log)) as reader:
        keys = keys_for(reader.path, given)
        # In this order: what was written later, beside a live daemon, is then no contradiction.
        vouched = checkpoints_of(reader.path, origin_of(reader.log_id), keys, files)
        snapshots, differing = evidence.snapshots(reader)
        return reader.path, _Claims(reader.log_id, keys, vouched, snapshots, differing, evidence.ends(reader).last)


def _jobs(log: str, claims: _Claims, *, replay: bool) -> list[Job]:
    """Divide the work: folding takes about as long as all the rest."""
    processors = len(os.sched_getaffinity(0))
    others: list[list[Pass]] = [["leaves", "file"]] if replay and processors < 3 else [["leaves"], ["file"]]
    shares: list[list[Pass]] = [["replay"], *others] if replay else others
    if claims.until < LONG or processors < 2:
        shares = [[one for share in shares for one in share]]
    sizes = [one.checkpoint.size for one in claims.vouched if one.checkpoint is not None]
    return [Job(log, claims.until, share, sizes, claims.snapshots) for share in shares]


def _place(check: Check) -> tuple[int, str]:
    """Order checks, whichever process was done first: from the bytes to what follows from them."""
    return next((place for place, name in enumerate(_ORDER) if check.name.startswith(name)), len(_ORDER)), check.name


def readings(log_length: int, *, replay: bool) -> int:
    """Return how often the events are read, for whoever shows how far the work is."""
    return 2 if replay and log_length >= LONG and len(os.sched_getaffinity(0)) > 1 else 1


def _unknown(snapshot: Snapshot) -> Check | None:
    """Say so if this release cannot tell what a snapshot should be; the start folds the log instead of using it."""
    name = f"snapshot {snapshot.name}"
    versions = {SNAPSHOT: VERSION} | {projection.name: projection.version for projection in PROJECTIONS}
    version = versions.get(snapshot.name)
    if version is None:
        return Check(name, "not checked", "is of a projection that is not part of this release")
    if version != snapshot.version:
        return Check(name, "not checked", f"is of version {snapshot.version}; this release makes version {version}")
    return None


def _with_digests(checks: Sequence[Check], differing: frozenset[str]) -> list[Check]:
    """Return the checks, with those of snapshots failed that do not fit the digest beside them."""
    failed = {check.name for check in checks if check.state == "failed"}
    wrong = {f"snapshot {name}" for name in differing} - failed
    detail = "does not fit the digest beside it; a start folds the log instead of using it"
    return [check for check in checks if check.name not in wrong] + [Check(name, "failed", detail) for name in wrong]


# --- checkpoints -----------------------------------------------------------------------------------------------------


def _hold_against(claims: _Claims, found: Found, path: Path) -> list[Check]:
    """Hold the roots that were computed against the checkpoints."""
    checks: list[Check] = []
    if claims.keys.problem:
        checks.append(Check("keys", "failed", claims.keys.problem))
    if not claims.vouched:
        checks.append(_nothing_outside(claims, path))
    roots = {root.position: root.root for root in found.roots} | {0: EMPTY_ROOT}
    agreed = 0
    for one in sorted(claims.vouched, key=_size):
        check = _hold(one, roots, agreed, claims.until, found)
        if check.state == "ok":
            agreed = _size(one)
        checks.append(check)
    return checks


def _size(vouched: Vouched) -> int:
    return 0 if vouched.checkpoint is None else vouched.checkpoint.size


def _hold(vouched: Vouched, roots: dict[int, bytes], agreed: int, until: int, found: Found) -> Check:
    name, checkpoint = f"checkpoint {vouched.name}", vouched.checkpoint
    if checkpoint is None or vouched.problem:
        return Check(name, "failed", vouched.problem)
    if checkpoint.size > until:
        detail = f"knows of {checkpoint.size:,} events: the end was cut off, or an older copy was put in place"
        return Check(name, "failed", detail, until + 1)
    if roots.get(checkpoint.size) == checkpoint.root:
        return Check(name, "ok", f"signed, and its root is that of positions 1 to {checkpoint.size:,}")
    wrong = [one for one in found.checks if one.state == "failed" and one.name in BY_BYTES]
    known = [one.position for one in wrong if one.position is not None]
    if any(position <= checkpoint.size for position in known):
        return Check(name, "failed", f"its root is not that of positions 1 to {checkpoint.size:,}", min(known))
    detail = f"speaks of another history: an event from {agreed + 1:,} to {checkpoint.size:,} was replaced or moved"
    return Check(name, "failed", detail, agreed + 1, at_most=checkpoint.size)


def _nothing_outside(claims: _Claims, path: Path) -> Check:
    if claims.until and (claims.keys.keys or claims.keys.problem):
        detail = (
            f"there is none, though {claims.keys.place} could judge it: {outside.checkpoint_path(path).name} is gone, "
            "or a gateway was killed in its very first second, and the next start writes it"
        )
        return Check("checkpoint", "failed", detail)
    return Check("checkpoint", "not checked", "there is none: nobody outside vouches for this log")


def _protection(vouched: Sequence[Vouched], roots: Sequence[Root]) -> Protection:
    by_size = {root.position: root for root in roots}
    best = Protection(0, "", "")
    for one in vouched:
        root = by_size.get(_size(one))
        agrees = (
            root is not None and one.checkpoint is not None and not one.problem and root.root == one.checkpoint.root
        )
        if agrees and root is not None and root.position > best.position:
            best = Protection(root.position, rfc3339(root.at), one.name)
    return best
