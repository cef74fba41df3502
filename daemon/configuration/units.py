"""How a setting is written down: durations with their unit, addresses with their port."""

from __future__ import annotations

import re
from typing import Final, NewType

from attrs import frozen

Duration = NewType("Duration", float)
"""Seconds."""
Rate = NewType("Rate", float)
"""Times a second."""

LONGEST: Final = 36_500 * 86_400.0
"""Seconds; whoever says more means never, and arithmetic ends somewhere."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(value: object) -> Duration:
    """Read a duration: `"25s"`, `"1m30s"`, `"500ms"`, or a number of seconds.

    Raises:
        ValueError: it is none; the message says how to write one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value.replace(" ", "")):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    else:
        raise ValueError('a duration, e.g. "25s", "1m30s", "2h", or a number of seconds')
    if not 0 <= seconds <= LONGEST:
        raise ValueError("a duration of zero seconds or more, up to 36500d")
    return Duration(seconds)


def write_duration(seconds: float) -> str:
    """Write a duration as `parse_duration` reads it, in the largest units that lose nothing."""
    left = round(seconds * 1000)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


@frozen
class Address:
    """Where to listen."""

    host: str
    port: int
    """0: any free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Read `host:port` or `[v6]:port`.

    Raises:
        ValueError: it is none; the message says how to write one.
    """
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        bracketed = host.startswith("[") and host.endswith("]")
        if colon and bare and bracketed == (":" in bare) and port.isascii() and port.isdigit() and int(port) <= 65535:
            return Address(bare, int(port))
    raise ValueError('an address with a port, e.g. "127.0.0.1:9000" or "[::1]:9000"; port 0 takes any free one')
