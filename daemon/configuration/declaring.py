"""How a key of the configuration is declared: its default and unit, the reason for it, and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field

Check = Callable[[Any], str | None]
"""Returns what would be right where a value is not."""


Show = Callable[[str], str]
"""Returns a text without what is secret in it."""


def setting(default: Any, *, unit: str, reason: str, check: Check | None = None, show: Show | None = None) -> Any:
    """Declare a key: its default, its unit, and the reason for that default; and how it is shown, if not as it is."""
    metadata = {"unit": unit, "reason": reason, "check": check, "show": show}
    return field(default=default, metadata=metadata)


def at_least(least: float) -> Check:
    return lambda value: None if value >= least else f"at least {least:g}"


def zero_or_at_least(least: float) -> Check:
    return lambda value: None if value == 0 or value >= least else f"0, or at least {least:g}"


def nonempty(value: object) -> str | None:
    return None if value else "something that is not empty"
