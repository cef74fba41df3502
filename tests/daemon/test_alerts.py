"""The example alert rules: they speak of numbers that there are, and each fires when it should, and only then."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from histories import SECOND
from office import Office, open_office
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from stationkeeper.engine import events as e
from stationkeeper.engine.sending import Answer, Attempt
from stationkeeper.projections import webhooks

RULES = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.yml"
MINUTES = 30
"""For so long a situation lasts until it is asked what fires."""

Step: TypeAlias = Callable[[Office, str, MockClock], Awaitable[None]]


def alerts() -> dict[str, str]:
    """Return the rules' expressions, by their names."""
    found = re.findall(r"- alert: (\w+)\n +expr: (.*?)\n +(?:for|labels):", RULES.read_text(), re.DOTALL)
    return {name: " ".join(expression.removeprefix(">-").split()) for name, expression in found}


async def samples(office: Office) -> dict[str, float]:
    """Return every sample of ours by its series, times as seconds before now."""
    text = (await office.ask("GET", "/metrics")).text
    now = office.engine.now() / SECOND
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("stationkeeper_"):
                labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                past = now if sample.name.endswith("_timestamp_seconds") else 0.0
                found[f"{sample.name}{{{labels}}}"] = sample.value - past
    return found


async def scraped(clock: MockClock, *steps: Step) -> list[dict[str, float]]:
    """Return what is said before and after each step, of an engine that owes one webhook something now and then."""
    said: list[dict[str, float]] = []
    async with open_office(virtual=True) as office:
        given = {"url": "https://receiver.example/", "name": "Billing"}
        webhook = (await office.ask("POST", "/webhooks", given)).json["id"]
        await office.stations.connect("CP-1")
        while not office.receiver.attempts:
            await trio.lowlevel.checkpoint()
        await settled(office)
        said.append(await samples(office))
        for step in steps:
            await step(office, webhook, clock)
            await settled(office)
            said.append(await samples(office))
        if isinstance(office.receiver.on_attempt, Hang):
            office.receiver.on_attempt.over.set()
    return said


async def settled(office: Office) -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


# --- what goes wrong -------------------------------------------------------------------------------------------------


class Hang:
    """Lets attempts wait, until the world ends."""

    def __init__(self) -> None:
        self.over = trio.Event()

    async def __call__(self, attempt: Attempt) -> None:
        await self.over.wait()


async def nothing(office: Office, webhook: str, clock: MockClock) -> None:
    await trio.lowlevel.checkpoint()


async def fails(office: Office, webhook: str, clock: MockClock) -> None:
    await office.engine.record(e.WebhookFailed(since=office.engine.now(), reason="refused"), subject=webhook)


async def suspends(office: Office, webhook: str, clock: MockClock) -> None:
    await office.engine.record(e.WebhookSuspended(since=office.engine.now(), reason="refused"), subject=webhook)


async def is_disabled(office: Office, webhook: str, clock: MockClock) -> None:
    await office.engine.record(e.WebhookDisabled(since=1, reason="gone"), subject=webhook)


async def pauses(office: Office, webhook: str, clock: MockClock) -> None:
    await office.ask("POST", f"/webhooks/{webhook}/pause")


async def hangs(office: Office, webhook: str, clock: MockClock) -> None:
    office.receiver.on_attempt = Hang()
    await office.stations.connect("CP-2")


async def refuses(office: Office, webhook: str, clock: MockClock) -> None:
    office.receiver.status = 503
    await office.stations.connect("CP-2")


async def refuses_from_the_start(office: Office, webhook: str, clock: MockClock) -> None:
    await office.ask("DELETE", f"/webhooks/{webhook}")
    await office.ask("POST", "/webhooks", {"url": "https://receiver.example/"})
    await refuses(office, webhook, clock)


async def an_hour_passes(office: Office, webhook: str, clock: MockClock) -> None:
    clock.jump(3600)
    await trio.lowlevel.checkpoint()


async def days_pass(office: Office, webhook: str, clock: MockClock) -> None:
    clock.jump(4.5 * 86_400)
    await trio.lowlevel.checkpoint()


async def gives_up(office: Office, webhook: str, clock: MockClock) -> None:
    parked = e.DeliveryParked(message="m", webhook=webhook, position=1, round=0, attempts=10, attempted_at=1,
                              latency=15.0, reason="timed out")  # fmt: skip
    await office.engine.record(parked, subject="CP-1")


async def is_slow(office: Office, webhook: str, clock: MockClock) -> None:
    for _ in range(20):
        slow = e.DeliverySucceeded(message="m", webhook=webhook, position=1, round=0, attempts=1, attempted_at=1,
                                   latency=4.0, status=204)  # fmt: skip
        await office.engine.record(slow, subject="CP-1")


async def loses_its_secret(office: Office, webhook: str, clock: MockClock) -> None:
    office.engine.secrets.forget(office.engine.state(webhooks)[webhook].record.secrets[0])
    await trio.lowlevel.checkpoint()


async def our_network_goes(office: Office, webhook: str, clock: MockClock) -> None:
    office.receiver.answer = Answer(status=None, error="no network", local=True)
    await office.stations.connect("CP-2")


async def is_held(office: Office, webhook: str, clock: MockClock) -> None:
    office.engine.mute = True
    await trio.lowlevel.checkpoint()


SITUATIONS: dict[tuple[Step, ...], set[str]] = {
    (nothing,): set(),
    (fails,): {"WebhookFailing"},
    (suspends,): {"WebhookSuspended"},
    (is_disabled,): {"WebhookDisabled"},
    (hangs, an_hour_passes): {"WebhookBehind"},
    (pauses, hangs, an_hour_passes): set(),
    (refuses, days_pass): {"WebhookFailing", "WebhookBehind", "WebhookNearlyDisabled"},
    (refuses_from_the_start, days_pass): {"WebhookFailing", "WebhookBehind", "WebhookNearlyDisabled"},
    (refuses, pauses, days_pass): set(),
    (days_pass,): set(),
    (nothing, gives_up): {"WebhookGaveUp"},
    (nothing, is_slow): {"WebhookSlow"},
    (loses_its_secret,): {"WebhooksUnsigned"},
    (nothing, our_network_goes): {"WebhooksHindered"},
    (is_held,): {"WebhooksMute"},
}
"""What happens, and which alerts fire after it lasted for half an hour; what was before it lasted for as long."""


async def test_rules_speak_of_numbers_and_labels_that_there_are(mock_clock: MockClock) -> None:
    well, failing = await scraped(mock_clock, fails)
    said = well | failing
    names = {series.partition("{")[0] for series in said}
    rules = alerts()
    assert len(rules) >= 10
    for expression in rules.values():
        for name, matchers in re.findall(r"(stationkeeper_\w+)(?:{(.*?)})?", expression):
            assert name in names
            for label, operator, value in re.findall(r'(\w+)(=~?)"(.*?)"', matchers):
                for one in value.split("|") if operator == "=~" else [value]:
                    assert any(series.startswith(name) and f'{label}="{one}"' in series for series in said), one
        for labels in re.findall(r"(?:by|on) \((.*?)\)", expression):
            # `instance` is added by Prometheus.
            for label in set(labels.split(", ")) - {"instance"}:
                assert any(f'{label}="' in series for series in said), label


def test_every_rule_is_tried() -> None:
    assert set().union(*SITUATIONS.values()) == set(alerts())


@pytest.fixture
def promtool() -> str:
    """Return where promtool is; skip, or fail where CI is set, with a sentence that says what to install."""
    found = shutil.which("promtool")
    if found is None:
        missing = "no promtool: install Debian's prometheus (apt install prometheus) to run this test"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def series_of(said: list[dict[str, float]]) -> Iterator[dict[str, str]]:
    """Write what was said down as promtool reads it: the last for half an hour, what was before for as long before."""
    earlier, now = said[-2], said[-1]
    for name, value in now.items():
        if "_timestamp_seconds" in name:  # it was so long before the end
            values = f"{2 * MINUTES * 60 + value!r}x{2 * MINUTES}"
        else:
            before = earlier.get(name, value)
            counts = name.partition("{")[0].endswith(("_total", "_bucket", "_count", "_sum"))
            # What is counted goes on as it began.
            values = f"{before!r}x{MINUTES - 1} {value!r}+{value - before if counts else 0.0!r}x{MINUTES}"
        labeled = name.replace("{", '{instance="here",').replace(",}", "}")
        yield {"series": labeled, "values": values}


async def test_each_rule_fires_when_it_should_and_only_then(
    promtool: str, tmp_path: Path, mock_clock: MockClock
) -> None:
    tests: list[dict[str, Any]] = []
    for steps, expected in SITUATIONS.items():
        said = await scraped(mock_clock, *steps)
        fires = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
        asked = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{2 * MINUTES}m",
            "exp_samples": fires,
        }
        name = ", ".join(step.__name__ for step in steps)
        tests.append(
            {"name": name, "interval": "1m", "input_series": list(series_of(said)), "promql_expr_test": [asked]}
        )
    # JSON is YAML.
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))

    judged = await trio.run_process([promtool, "test", "rules", str(path)], capture_stdout=True, capture_stderr=True,
                                    check=False)  # fmt: skip
    assert judged.returncode == 0, (judged.stdout + judged.stderr).decode()
