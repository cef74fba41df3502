"""What the suite's report says, case by case, and what we make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

PASSED: Final = ("OK", "NON-STRICT", "INFORMATIONAL", "BINARY")
"""Outcomes that are no failure. By RFC 6455 the first three are conformant; the last is ours: see `BINARY_CASES`."""
BINARY_CASES: Final = ("1.2.", "9.2.", "9.4.", "9.6.", "9.8.", "12.2.", "12.3.", "12.5.")
"""Cases that expect binary messages to be echoed. OCPP-J is text, and nothing here could send a binary message. So they
are run, and judged by what we promise: a message that is no UTF-8 is refused with 1003 ("a type of data it cannot
accept", RFC 6455, 7.4.1), and one that is UTF-8 is taken for text."""
_AS_TEXT: Final = (
    "Expected binary message with payload, but got binary.",
    "Echo'ed message type or length differs from what I sent (got binary = False, ",
    "Echo'ed message type differs from what I sent (got binary False, expected binary True)",
)
"""What the suite says of an echo as text in cases 9, 12 and 13, which keep no record of what was received."""
_CLOSED_WELL: Final = ("OK", "INFORMATIONAL")


@frozen
class Verdict:
    """What came of a case."""

    outcome: str
    """One of `PASSED`; else the suite's word for what went wrong."""
    close: str
    """The suite's word for how the connection was closed."""
    code: int | None
    """The code that we closed it with."""

    def __str__(self) -> str:
        return f"{self.outcome}; close {self.close}, code {self.code}"


def by_number(case: str) -> tuple[int, ...]:
    """Return a case's place among the others."""
    return tuple(map(int, case.split(".")))


def group(case: str) -> str:
    """Return the group of a case, with what it is about."""
    number = case.partition(".")[0]
    return f"{number:>2} {_GROUPS.get(number, '')}"


_GROUPS: Final = {
    "1": "framing",
    "2": "pings, pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close",
    "9": "limits",
    "10": "auto-fragmentation",
    "12": "compression",
    "13": "compression parameters",
}


def read_verdicts(report: Path) -> dict[str, Verdict]:
    """Read the suite's report on one transport; nothing if there is none."""
    index = report / "index.json"
    if not index.exists():
        return {}
    ((_, cases),) = json.loads(index.read_text()).items()
    return {case: _judge(case, told, report) for case, told in cases.items()}


def _judge(case: str, told: Mapping[str, Any], report: Path) -> Verdict:
    behaviour, close, code = told["behavior"], told["behaviorClose"], told["remoteCloseCode"]
    if case.startswith(BINARY_CASES):
        kept = _binary(json.loads((report / told["reportfile"]).read_text()))
        return Verdict("BINARY" if kept else behaviour, close, code)
    if behaviour in PASSED and close not in _CLOSED_WELL:
        behaviour = close
    return Verdict(behaviour, close, code)


def _binary(detail: Mapping[str, Any]) -> bool:
    """Return whether a binary message was treated as we promise."""
    if detail["received"]:
        return all(kind == "message" and not binary for kind, _, binary in detail["received"])
    if detail["result"].startswith(_AS_TEXT):
        return True
    return bool(detail["remoteCloseCode"] == 1003 and detail["wasClean"])
