"""Making proofs from a log, and checking them without it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ...engine.entry import leaf, leaf_input
from ...engine.errors import LogContradicted, StationkeeperError
from ...engine.ledger import outside
from ...engine.ledger.checkpoint import Checkpoint, origin_of
from ...engine.ledger.note import VerifyingKey
from ...engine.ledger.proofs import prove_consistency, prove_inclusion
from ...engine.log import evidence
from ...engine.log.reading import LogReader, open_reader
from .checkpoints import Keys, Vouched, checkpoints_of, judge, keys_for, read_file
from .proof import Consistency, Inclusion, Proven


class NotProven(StationkeeperError):
    """There is no such proof, or the one at hand does not hold."""


def prove_event(log: str, position: int, checkpoint: Path | None, keys: Sequence[VerifyingKey]) -> Inclusion:
    """Prove that a log holds the event at a position, under the newest checkpoint outside, or the one in a file.

    Raises:
        NotProven: no checkpoint reaches the position, or none counts.
        LogContradicted: the log is not the one that the checkpoint speaks of.
        LogError: it cannot be read.
    """
    with closing(open_reader(log)) as reader:
        vouched, present = _newest(reader, checkpoint, keys)
        if position > (last := evidence.ends(reader).last):
            raise NotProven(f"there is no position {position:,}: {log} ends at {last:,}")
        if position > present.size:
            raise NotProven(
                f"position {position:,} is not protected yet: {vouched.name} reaches position {present.size:,}"
            )
        event = next(iter(reader.read(position - 1, until=position)), None)
        if event is None or leaf(event) != event.leaf:
            raise LogContradicted(f"{log}: position {position:,} was changed or is missing; {_look(log)}")
        hashes = prove_inclusion(evidence.leaves(reader, present.size), position - 1, present.size)
        proof = Inclusion(leaf_input(event)[1:], position - 1, hashes, vouched.note)
        if not proof.holds(present):
            raise LogContradicted(f"{log} is not the log that {vouched.name} speaks of; {_look(log)}")
        return proof


def prove_continued(log: str, since: Path, checkpoint: Path | None, keys: Sequence[VerifyingKey]) -> Consistency:
    """Prove that a log still begins with all that it held at a checkpoint that somebody kept.

    Raises:
        NotProven: one of the checkpoints does not count, or the older one is the newer.
        LogContradicted: the log does not continue the older checkpoint.
        LogError: it cannot be read.
    """
    with closing(open_reader(log)) as reader:
        vouched, present = _newest(reader, checkpoint, keys)
        known = keys_for(reader.path, keys)
        older = _counting(judge(str(since), read_file(since), origin_of(reader.log_id), known))
        if older.size > present.size:
            raise NotProven(f"{since} is newer: it knows of {older.size:,} events, {vouched.name} of {present.size:,}")
        leaves = evidence.leaves(reader, present.size)
        hashes = prove_consistency(leaves, older.size, present.size) if older.size else []
        proof = Consistency(older.size, hashes, vouched.note)
        if not proof.holds(older, present):
            raise LogContradicted(f"{log} does not continue the log that {since} speaks of; {_look(log)}")
        return proof


def check_event(proof: Inclusion, keys: Sequence[VerifyingKey]) -> tuple[Proven, int, Checkpoint]:
    """Return the event that a proof proves, its position, and the checkpoint under which it does.

    Raises:
        NotProven: it proves nothing.
    """
    try:
        checkpoint = _counting(judge("its checkpoint", proof.note, None, Keys(tuple(keys), "those given", given=True)))
        if not proof.holds(checkpoint):
            raise NotProven("the event is not in the log that the checkpoint speaks of")
        return proof.event(), proof.index + 1, checkpoint
    except ValueError as error:
        raise NotProven(f"the proof proves nothing: {error}") from error


def check_continued(proof: Consistency, since: bytes, keys: Sequence[VerifyingKey]) -> tuple[Checkpoint, Checkpoint]:
    """Return the older checkpoint and the newer one that continues it, as a proof proves.

    Raises:
        NotProven: it proves nothing.
    """
    known = Keys(tuple(keys), "those given", given=True)
    newer = _counting(judge("its checkpoint", proof.note, None, known))
    older = _counting(judge("the older checkpoint", since, newer.origin, known))
    try:
        holds = proof.holds(older, newer)
    except ValueError as error:
        raise NotProven(f"the proof proves nothing: {error}") from error
    if not holds:
        raise NotProven("the newer checkpoint does not continue the older one: the log's past was changed")
    return older, newer


def _newest(reader: LogReader, file: Path | None, keys: Sequence[VerifyingKey]) -> tuple[Vouched, Checkpoint]:
    """Return the checkpoint that is to be proven under."""
    known = keys_for(reader.path, keys)
    if known.problem:
        raise LogContradicted(known.problem)
    origin = origin_of(reader.log_id)
    if file is not None:
        vouched = judge(str(file), read_file(file), origin, known)
    else:
        found = checkpoints_of(reader.path, origin, known, ())
        if not found:
            beside = outside.checkpoint_path(reader.path)
            raise NotProven(f"there is no {beside.name}, so nothing can be proven yet; name one with --checkpoint")
        vouched = found[0]
    checkpoint = _counting(vouched)
    if checkpoint.size > evidence.ends(reader).last:
        raise LogContradicted(f"{reader.path} is shorter than {vouched.name} says; {_look(str(reader.path))}")
    return vouched, checkpoint


def _counting(vouched: Vouched) -> Checkpoint:
    if vouched.checkpoint is None or vouched.problem:
        raise NotProven(f"{vouched.name}: {vouched.problem}")
    return vouched.checkpoint


def _look(log: str) -> str:
    return f"stationkeeper verify {log} may say which event is wrong"
