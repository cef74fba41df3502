"""A webhook as people look at it: how it is and why, what waits, how deliveries went, the last answers.

Pure: what the API answered in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from ...engine.clock import parse_time
from ...engine.events import Micros
from ..words import ago, clock, count, duration, number
from .printing import visible

_COLUMNS: Final = 48
"""Of half an hour: a day fits a terminal of 80 columns."""
_LEVELS: Final = " ▁▂▃▄▅▆▇█"
_DAY: Final[Micros] = 86_400 * 1_000_000
_LABEL: Final = 15
_ANSWERS: Final = 10
_OPTIONS: Final = (
    *("events", "stations", "sites", "mode", "format", "signatures", "public_key", "headers", "client_certificate"),
    *("authorities", "rate", "concurrency", "initial"),
)

_LABELS: Final = {"client_certificate": "certificate"}


def picture(webhook: Mapping[str, Any], history: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that show a webhook and its last day, of its object and its history."""
    now = parse_time(history["to"])
    yield f"{webhook['name'] or webhook['id']}: {webhook['state']}"
    yield webhook["url"]
    yield ""
    yield from _state(webhook, now)
    yield from _backlog(webhook, now)
    yield ""
    yield from _past(history, now)
    yield ""
    yield from _answers(webhook["answers"], now)
    yield ""
    yield from _options(webhook)


def shown(lines: Iterable[str]) -> str:
    """Return lines as they are printed: with all that cannot be seen written out."""
    return "\n".join(visible(line).rstrip() for line in lines)


def reason_of(webhook: Mapping[str, Any]) -> str:
    """Return in a few words why nothing, or one message at a time, is sent to a webhook; empty if that is not so, or
    somebody paused it."""
    health, disabled = webhook["health"], webhook["disabled"]
    if webhook["problem"]:
        return str(webhook["problem"])
    if disabled:
        return f"disabled: {disabled['reason']}"
    return f"suspended: {health['reason']}" if health["state"] == "suspended" else ""


def seconds_of(time: str) -> str:
    """Return a time as the API writes it, without what is below a second."""
    return f"{time.partition('.')[0].removesuffix('Z')}Z"


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL - 1}} {text}"


def _state(webhook: Mapping[str, Any], now: Micros) -> Iterator[str]:
    health, disabled = webhook["health"], webhook["disabled"]
    if webhook["problem"]:
        yield _line("problem", webhook["problem"])
    if disabled:
        yield _line("disabled", f"{_when(disabled['at'], now)}: {disabled['reason']}")
    if health["state"] != "well" and not disabled:  # to one that is disabled nothing is tried
        tried = "; one message at a time is tried" if health["state"] == "suspended" else ""
        yield _line(health["state"], f"since {_when(health['since'], now)}: {health['reason']}{tried}")


def _backlog(webhook: Mapping[str, Any], now: Micros) -> Iterator[str]:
    owed, oldest = webhook["owed"], webhook["oldestOwed"]
    yield _line("owed", f"{number(owed['pending'])} pending, {number(owed['parked'])} given up, "
                        f"{number(owed['skipped'])} skipped")  # fmt: skip
    if oldest:
        since = "of an unknown time" if oldest["at"] is None else _when(oldest["at"], now)
        yield _line("oldest owed", f"{since}{_of(oldest['subject'])}: {oldest['message']}")
    if webhook["nextAttemptAt"]:
        yield _line("next attempt", _when(webhook["nextAttemptAt"], now))
    accepted = webhook["lastAcceptedAt"]
    yield _line("last accepted", "none is known" if accepted is None else _when(accepted, now))


def _past(history: Mapping[str, Any], now: Micros) -> Iterator[str]:
    accepted, failed = [0] * _COLUMNS, [0] * _COLUMNS
    for bucket in history["buckets"]:
        column = (parse_time(bucket["at"]) - (now - _DAY)) * _COLUMNS // _DAY
        if column < _COLUMNS:  # the first one may have begun a little earlier
            accepted[max(column, 0)] += bucket["succeeded"]
            failed[max(column, 0)] += bucket["failedAttempts"] + bucket["failing"]
    total, latency = history["sum"], history["sum"]["latencyMs"]
    took = ""
    if latency["p50"] is not None:
        half, most = (duration(latency[share] / 1000) for share in ("p50", "p95"))
        took = f"; answered within {half} as a rule, {most} at 95 %"
    attempts = count(total["failedAttempts"], "failed attempt")
    if total["failing"]:
        attempts += f", {count(total['failing'], 'message')} failed and wait{'s' if total['failing'] == 1 else ''}"
    settled = f"{number(total['succeeded'])} accepted, {number(total['parked'])} given up"
    yield _line("in 24 hours", f"{settled}, {attempts}{took}")
    yield _line("  accepted", _bars(accepted))
    yield _line("  failed", _bars(failed))
    yield _line("", f"{clock(now - _DAY)[5:16]:<{_COLUMNS - 3}}now")


def _bars(many: Sequence[int]) -> str:
    """Return a column for each number: what is above nothing is seen."""
    most = max(many)
    bars = "".join(_LEVELS[-(-one * (len(_LEVELS) - 1) // most) if most else 0] for one in many)
    return f"{bars}  at most {number(most)}" if most else "none"


def _answers(answers: Sequence[Mapping[str, Any]], now: Micros) -> Iterator[str]:
    if not answers:
        yield _line("last answers", "none since this process began")
    for row, answer in enumerate(answers[:_ANSWERS]):
        said = "" if answer["outcome"] == "delivered" else f"  {answer['error'] or answer['outcome']}"
        text = f"{answer['status'] or '---'}  {_when(answer['at'], now):<12} {duration(answer['latencyMs'] / 1000):>8}"
        yield _line("" if row else "last answers", f"{text}  {answer['subject'] or 'a test'}{said}")


def _options(webhook: Mapping[str, Any]) -> Iterator[str]:
    for name in ("id", *_OPTIONS):
        value = webhook.get(name)
        if value not in (None, "", []):
            rate = "/s" if name == "rate" else ""
            yield _line(_LABELS.get(name, name.replace("_", " ")), f"{_text(value)}{rate}")
        if name == "signatures" and webhook["retiredAt"]:
            yield _line("older secrets", f"sign, too, until {seconds_of(webhook['retiredAt'])}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, cast("list[object]", value)))
    if isinstance(value, dict):  # a certificate
        shown = cast("dict[str, str]", value)
        return f"{shown['subject']} (until {seconds_of(shown['notAfter'])})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _when(time: str, now: Micros) -> str:
    return ago(parse_time(time), now)


def _of(subject: str) -> str:
    return f", of {subject}" if subject else ""
