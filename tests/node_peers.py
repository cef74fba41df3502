"""Peers from npm: installed the first time that one is wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

OCPP_RPC = Path(__file__).parent / "transports" / "ocpp_rpc"
"""A station made of ocpp-rpc, with what that needs: npm's ws among it."""
WS = OCPP_RPC / "node_modules" / "ws"


def node() -> str:
    """Return the node that runs them; where they cannot be had the test is skipped, and in CI fails."""
    npm, node = shutil.which("npm"), shutil.which("node")
    problem = "" if npm and node else "node and npm are missing; install Node.js 18 or newer"
    if not problem and npm and not (WS.exists() and (OCPP_RPC / "node_modules" / "ocpp-rpc").exists()):
        installed = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=OCPP_RPC, capture_output=True, text=True, check=False
        )
        problem = installed.stderr if installed.returncode else ""
    if problem and "CI" in os.environ:
        pytest.fail(f"ocpp-rpc cannot be had: {problem}")
    if problem or node is None:
        pytest.skip(f"ocpp-rpc cannot be had: {problem}")
    return node
