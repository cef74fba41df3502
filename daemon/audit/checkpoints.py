"""What is vouched for from outside: checkpoints of a log, and whether keys that count have signed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from ...engine.errors import LogContradicted, LogUnavailable
from ...engine.ledger import outside
from ...engine.ledger.checkpoint import Checkpoint
from ...engine.ledger.note import VerifyingKey, signer_of


@frozen
class Vouched:
    """A checkpoint as somebody handed it over."""

    name: str
    """Of its file."""
    note: bytes
    checkpoint: Checkpoint | None
    """What it claims; none if it claims nothing that can be read."""
    problem: str = ""
    """Why it does not count for this log; empty if it does."""


@frozen
class Keys:
    """The keys that count."""

    keys: tuple[VerifyingKey, ...]
    place: str
    """Where they come from, in words."""
    given: bool
    """Whether somebody brought them along, so that the file beside the log is not asked."""
    problem: str = ""
    """Why there are none, if somebody meddled with the file."""


def keys_for(log: Path, given: Sequence[VerifyingKey]) -> Keys:
    """Return the keys that count for a log: those given, else those that stand beside it.

    Raises:
        LogUnavailable: they cannot be read.
    """
    if given:
        return Keys(tuple(given), "the keys given", given=True)
    place = outside.keys_path(log).name
    try:
        return Keys(tuple(outside.read_keys(log)), place, given=False)
    except LogContradicted as error:
        return Keys((), place, given=False, problem=str(error))


def checkpoints_of(log: Path, origin: str, keys: Keys, files: Sequence[Path]) -> list[Vouched]:
    """Return the checkpoint beside a log, if there is one, and those in files.

    Raises:
        LogUnavailable: one cannot be read.
    """
    beside = outside.read_note(log)
    found = [] if beside is None else [judge(outside.checkpoint_path(log).name, beside, origin, keys)]
    return [*found, *(judge(str(file), read_file(file), origin, keys) for file in files)]


def judge(name: str, note: bytes, origin: str | None, keys: Keys) -> Vouched:
    """Say of a checkpoint whether it counts for the log of this origin; none: for whichever it speaks of."""
    try:
        checkpoint = Checkpoint.parse(note)
    except ValueError as error:
        return Vouched(name, note, None, str(error))
    if origin is not None and checkpoint.origin != origin:
        return Vouched(name, note, checkpoint, f"is of another log: {checkpoint.origin}")
    try:
        signer = signer_of(note, [key for key in keys.keys if key.name == checkpoint.origin])
    except ValueError as error:
        return Vouched(name, note, checkpoint, str(error))
    if signer is None:
        return Vouched(name, note, checkpoint, f"is signed by none of the keys that count ({keys.place})")
    return Vouched(name, note, checkpoint)


def read_file(file: Path) -> bytes:
    """Return what is in a file.

    Raises:
        LogUnavailable: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise LogUnavailable(f"{file} cannot be read ({error.strerror}); check the path and its rights") from error
