"""What a soak's tests did, in numbers: `tests/soak.py` adds them up."""

from __future__ import annotations

import json
import os
from pathlib import Path

TALLY = "STATIONKEEPER_SOAK_TALLY"
"""Names the file to which counts are added, a JSON pair a line; `tests/soak.py` sets it."""


def counted(what: str, number: int) -> None:
    """Say how much was done of something; nothing happens outside of a soak."""
    tally = os.environ.get(TALLY)
    if tally is not None:
        with Path(tally).open("a") as file:
            file.write(json.dumps([what, number]) + "\n")
