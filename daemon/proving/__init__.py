"""The proving ground: the whole engine in a simulated world, and a judge who was there. A public test kit.

    from stationkeeper.daemon.proving import Plan, prove

    proof = prove(Plan.draw(7, stations=20, hours=4))
    assert not proof.findings, proof.findings

A `Plan` says what happens, a `World` lets it happen under virtual time, its `History` is what everybody saw, and a
`Judge` holds that against what the log says. The same plan gives the same history and the same log, to the byte. It
needs nothing but the library's own dependencies.
"""

from .history import History
from .judge import TRUTHS, Judge
from .plan import Fate, Plan
from .proof import Proof, prove
from .world import World

__all__ = ["TRUTHS", "Fate", "History", "Judge", "Plan", "Proof", "World", "prove"]
