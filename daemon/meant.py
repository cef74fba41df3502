"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def meant(word: str, known: Iterable[str], *, otherwise: str = "known are", cutoff: float = 0.5) -> str:
    """Return the known word that is nearest, as a question, or, where none is near, all of them behind *otherwise*."""
    words = list(known)
    near = get_close_matches(word, words, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(words)}"
