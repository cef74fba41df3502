"""What a start takes for the secrets of a large fleet: 100 000 credentials, read and opened, and sealed anew.

Each secret is sealed by itself (ADR 0029), and all of them are opened at the start. Beside it: the same file written
anew under another key, which is what `keys rotate-secrets` does.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from result import Result, report

from stationkeeper.engine.log.secrets import open_secrets, rotate_key
from stationkeeper.engine.log.secrets_key import default_key_file

CREDENTIALS = 100_000
ROUNDS = 5


def make(log: Path) -> None:
    secrets = open_secrets(log, "bench", create=True)
    assert secrets is not None
    with closing(secrets):
        secrets.keep_all({f"cred_{n:026d}": b"hmac:" + os.urandom(32) for n in range(CREDENTIALS)})


def opened(log: Path) -> float:
    began = time.process_time()
    secrets = open_secrets(log, "bench", create=False)
    took = time.process_time() - began
    assert secrets is not None
    with closing(secrets):
        assert len(secrets.ids()) == CREDENTIALS
    return took


def rotated(log: Path) -> float:
    began = time.process_time()
    rotate_key(log, "bench", default_key_file(log))
    return time.process_time() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="stationkeeper-bench-") as folder:
        log = Path(folder) / "bench.db"
        make(log)
        starts = [opened(log) for _ in range(ROUNDS)]
        rotation = rotated(log)
    spread = f"{min(starts):.2f} to {max(starts):.2f} s in {ROUNDS} rounds"
    report(
        [
            Result(
                part="secrets",
                name="100 000 credentials, opened at a start",
                value=statistics.median(starts),
                unit="s CPU",
                at_most=0.3,
                note=spread,
            ),
            Result(part="secrets", name="the same, sealed under a new key", value=rotation, unit="s CPU", note="once"),
        ]
    )


if __name__ == "__main__":
    main()
