"""What many routes are asked with: which entry, how many, from where on."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import Path, Query
from starlette.requests import Request

from ..registry.errors import Invalid
from .answers import nearest

LISTED: Final = 1_000
"""Entries on one page, at most."""
_LAST: Final = 2**62
"""Beyond any position that SQLite can hold, and within what it can compare."""

Id: TypeAlias = Annotated[str, Path(description="Percent-encoded; a slash in it is `%2F`.")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=LISTED, description="Entries on one page.")]
Cursor: TypeAlias = Annotated[str | None, Query(description="`next` of the page before.")]
After: TypeAlias = Annotated[int, Query(ge=0, lt=_LAST, description="A position; what comes after it is read.")]
Onward: TypeAlias = Annotated[
    int | None, Query(ge=0, lt=_LAST, description="`next` of the page before, in place of `after`.")
]
Kinds: TypeAlias = Annotated[list[str] | None, Query(description="Only events of these kinds.")]


async def known_parameters(request: Request) -> None:
    """Let a route be asked with the parameters that it has alone: with others, too much would be answered.

    Raises:
        Invalid: there is another one.
    """
    route: Any = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise Invalid(name[:60], f"there is no such parameter{nearest(name, known)}")
