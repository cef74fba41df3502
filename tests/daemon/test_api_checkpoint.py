"""The newest checkpoint over the API: what stands beside the log, to be kept elsewhere."""

from __future__ import annotations

from pathlib import Path

from office import open_office

from stationkeeper.engine.ledger import outside
from stationkeeper.engine.ledger.checkpoint import Checkpoint
from stationkeeper.engine.ledger.note import signer_of


async def test_it_is_the_signed_note_that_stands_beside_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with open_office(path) as office:
        answer = await office.ask("GET", "/checkpoint")
        position = office.engine.position

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert Checkpoint.parse(answer.body).size == position == 1
    assert signer_of(answer.body, outside.read_keys(path)) is not None


async def test_a_log_in_memory_has_none() -> None:
    async with open_office() as office:
        answer = await office.ask("GET", "/checkpoint")

    assert answer.status == 404
