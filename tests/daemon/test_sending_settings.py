"""What `[webhooks]` says of sending reaches the sender."""

from __future__ import annotations

import re
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from receiving import OK, answering, attempt_at, receiving

from stationkeeper.daemon.configuration.sources import load
from stationkeeper.daemon.configuration.webhooks import WebhooksSection
from stationkeeper.daemon.registry.errors import Invalid
from stationkeeper.daemon.registry.standing import policy_of
from stationkeeper.daemon.serve import webhook_sender
from stationkeeper.engine.sending import Answer


def webhooks(folder: Path, text: str) -> WebhooksSection:
    (folder / "stationkeeper.toml").write_text(
        f"[webhooks]\nallow_private_networks = true\nallow_http = true\n{text}", encoding="utf-8"
    )
    return load(folder / "stationkeeper.toml").config.webhooks


async def silent(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def attempted(section: WebhooksSection, *, answers: bool = True) -> Answer:
    async with receiving(answering(OK) if answers else silent) as receiver, aclosing(webhook_sender(section)) as sender:
        return await sender.send(attempt_at(receiver.url))


@pytest.mark.parametrize(
    ("text", "answers", "told", "local"),
    [
        ("", True, "", False),
        ("ports = [9]", True, "ports \\(9\\)", False),
        ('proxy = "http://127.0.0.1:1"', True, "proxy 127.0.0.1 port 1", True),
        ("answer_timeout = 0.1", False, "0.1 s", False),
        ("timeout = 0.2", False, "0.2 s", False),
    ],
)
async def test_a_setting_is_heard_by_the_sender(
    tmp_path: Path, text: str, answers: bool, told: str, local: bool
) -> None:
    answer = await attempted(webhooks(tmp_path, text), answers=answers)

    assert answer.accepted == (told == "")
    assert re.search(told, answer.error), answer.error
    assert answer.local == local


def test_ports_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    policy = policy_of(webhooks(tmp_path, "ports = [443, 9443]"))
    policy.check("https://example.com:9443/")
    with pytest.raises(Invalid, match=r"port 8443 .* \(443, 9443\)"):
        policy.check("https://example.com:8443/")
