"""Each command of `docs/how-to/steer-webhooks.md` does what the page says, one after the other, on a log."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import trustme
from calling import Call, on_log

from stationkeeper.engine.log.reading import read_log

PAGE = Path(__file__).parents[3] / "docs/how-to/steer-webhooks.md"


def commands() -> Iterator[list[str]]:
    for block in re.finditer(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        for line in block[1].splitlines():
            program, *words = shlex.split(line.removeprefix("$ "))
            assert program == "stationkeeper"
            yield words


def test_the_page_can_be_followed_from_its_begin_to_its_end(call: Call, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("ours.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "theirs.pem"))
    (tmp_path / "receiver.token").write_text("Bearer something\n")
    made = on_log(call, "webhook", "add", "https://example.com/hook", "--signature", "v1a", "--signature", "v1",
                  "--format", "json")  # fmt: skip
    webhook = json.loads(made.out)["id"]
    on_log(call, "webhook", "test", webhook)
    (pending,) = csv.DictReader(io.StringIO(on_log(call, "webhook", "messages", webhook, "--format", "csv").out))
    known = {"wh_06fm3": webhook, "msg_2XJ6KQ7VAZ5RN3MBDWPYTHC4FE": pending["id"], "2026-11-22T09:00:00Z": "1"}

    for words in commands():
        outcome = on_log(call, *(known.get(word, word) for word in words))
        assert (outcome.code, outcome.err) == (0, ""), words

    kinds = [recorded.kind for recorded in read_log("x.db")]
    shown = json.loads(on_log(call, "webhook", "show", webhook, "--format", "json").out)
    assert {"webhook.paused", "webhook.enabled", "webhook.tested", "webhook.recovered"} <= set(kinds)
    assert {"delivery.skipped", "delivery.requested"} <= set(kinds)
    assert kinds.count("webhook.updated") == 10
    assert (shown["url"], shown["mode"], shown["retiredAt"]) == ("https://example.com/new-hook", "latest", None)
    assert (shown["headers"], shown["client_certificate"], shown["authorities"]) == ([], None, [])
