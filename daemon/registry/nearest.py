"""The registered station that an unknown one may mean: ids are typed by hand into menus of chargers.

What is found stands in the log and before operators, and never in an answer to a peer: one could find out ids by it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import unquote

_MOST: Final = 3
"""Ids named: where more are equally near, it is a station of a series that is registered, and of none of them."""
_WIDTHS: Final = range(1, 13)
"""Digits of a number that is tried with more or fewer leading zeros."""
_SHORT, _MIDDLE = 3, 6
"""Characters up to which no letter may differ, and up to which only one may: most short ids are near each other."""
_LONG: Final = 100
"""Characters beyond which nothing is looked for: an OCPP identity has 48 at most."""
_LETTERS: Final = 2
"""Letters that may differ in a long id, or be missing, or be swapped. Digits may not, save for leading zeros."""
_TOLD: Final = 150
"""Characters that a hint has at most, so that it fits with others into what is recorded, and no command is cut."""
_ALIKE: Final = str.maketrans("OoIiLlSsBbZz", "001111558822")
"""Letters, and the digits that they are mistaken for."""
_MARKS: Final = ("-", "_", "", " ", "/", "*", ".")
_WORD: Final = re.compile(r"\d+|[^\W\d_]+")
_NUMBER: Final = re.compile(r"\d+")


def meant(claimed: str, ids: Collection[str]) -> list[str]:
    """Return the registered ids, at most three, that someone may have meant; none if nothing is near, or too much is.

    It is never *claimed* itself. This takes some 10 ms at 100 000 ids (`make bench ARGS=nearest`), and nothing is kept
    from call to call.
    """
    forms = dict.fromkeys(form for form in _forms(claimed) if form in ids and form != claimed)
    return list(forms)[:_MOST] or _near(claimed, ids)


def hint(claimed: str, ids: Collection[str], *, removed: bool = False) -> str:
    """Say in a sentence or two what to do about a station that is not registered.

    The command in it can be given to a shell as it stands.

    Args:
        removed: it was registered once.
    """
    found = [] if removed else meant(claimed, ids)
    said = "it was removed from the registry; to have it back, " if removed else ""
    if found:
        said = f"did you mean {' or '.join(found)}? If not, "
    whole = f"{said}register it: {_command(claimed)}"
    return whole if claimed and claimed.isprintable() and len(whole) <= _TOLD else f"{said}register it"


def _command(claimed: str) -> str:
    id = shlex.quote(claimed)
    given = f"--generate -- {id}" if id.startswith("-") else f"{id} --generate"
    return f"stationkeeper station add {given}"


def _forms(claimed: str) -> Iterator[str]:
    """Yield what the id may have been before something was done to it once too often, or once too seldom."""
    plain = [claimed, claimed.strip(" \"'<>{}/\\")]
    plain += [unquote(unquote(claimed)), unquote(claimed)]
    half = len(claimed) // 2
    twice = half and claimed[:half].casefold() == claimed[-half:].casefold()  # with a mark between, or without
    plain += [claimed[:half], claimed[-half:]] if twice else []
    plain += [part for part in re.split(r"[/\\?#]", claimed) if part]
    # Words and numbers with other marks between them, or with none.
    marked = [mark.join(_WORD.findall(form)) for form in plain for mark in _MARKS]
    for form in dict.fromkeys(plain + marked):
        for cased in (form, form.upper(), form.lower()):
            yield cased
            yield from _with_zeros(cased)


def _with_zeros(id: str) -> Iterator[str]:
    """Yield an id with other numbers of leading zeros in its last number."""
    numbers = list(_NUMBER.finditer(id))
    if numbers:
        last = numbers[-1]
        digits = last.group().lstrip("0") or "0"
        for width in _WIDTHS:
            yield f"{id[: last.start()]}{digits.zfill(width)}{id[last.end() :]}"


def _near(claimed: str, ids: Collection[str]) -> list[str]:
    from rapidfuzz import process, utils  # here: it takes 20 ms, and only strangers need it
    from rapidfuzz.distance import OSA

    size = len(claimed)
    if size > _LONG:
        return []
    letters = 0 if size <= _SHORT else 1 if size <= _MIDDLE else _LETTERS
    # Compared without case, and with any mark as a space.
    distance: Any = OSA.distance  # its types do not fit its own
    found = process.extract(
        claimed,
        (id for id in ids if id != claimed),
        scorer=distance,
        processor=utils.default_process,
        score_cutoff=letters,
        limit=None,  # in a numbered fleet those with other numbers may be as near, and many
    )
    looks, numbers = claimed.translate(_ALIKE), _numbers(claimed)
    alike = [id for id, _, _ in found if id.translate(_ALIKE) == looks]
    same = [(id, distance) for id, distance, _ in found if _numbers(id) == numbers]
    nearest = alike or [id for id, distance in same if distance == same[0][1]]
    return nearest if len(nearest) <= _MOST else []


def _numbers(id: str) -> list[str]:
    """Return the numbers in an id, without leading zeros: with another number it is another station's."""
    return [number.lstrip("0") for number in _NUMBER.findall(id)]
