"""`stationkeeper config`: the settings in force, each with its unit, default, source and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, cast

import attrs

from .config import SECTIONS, WebhookSection
from .sources import Effective
from .units import Address, Duration, write_duration

_COMMENT_WIDTH: Final = 96


def as_toml(effective: Effective) -> str:
    """Return the settings as a file that can be read back, each under a comment on it."""
    lines: list[str] = []
    for name, cls in SECTIONS.items():
        lines += [f"# {_summary(cls)}", f"[{name}]"]
        for row in _rows(effective, name):
            lines += [f"# {line}" for line in wrap(_comment(row), _COMMENT_WIDTH)]
            value = row["toml"]
            lines += [f"# {row['key']} =" if value is None else f"{row['key']} = {value}", ""]
    for webhook in effective.config.webhook:
        lines += [f"# {_summary(WebhookSection)}", "[[webhook]]"]
        lines += [f"{key.name} = {_toml(getattr(webhook, key.name))}" for key in attrs.fields(WebhookSection)]
        lines.append("")
    return "\n".join(lines)


def as_json(effective: Effective) -> str:
    """Return the settings for programs: one object a key."""
    rows = [
        {key: value for key, value in row.items() if key != "toml"}
        for name in SECTIONS
        for row in _rows(effective, name)
    ]
    webhooks = [
        {key.name: _plain(getattr(webhook, key.name)) for key in attrs.fields(WebhookSection)}
        for webhook in effective.config.webhook
    ]
    return json.dumps({"settings": rows, "webhook": webhooks}, indent=2)


def _summary(cls: type[Any]) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def _rows(effective: Effective, section: str) -> Iterator[dict[str, Any]]:
    values = getattr(effective.config, section)
    for key in attrs.fields(SECTIONS[section]):
        value, default = getattr(values, key.name), _default(key)
        yield {
            "section": section,
            "key": key.name,
            "value": _plain(value),
            "toml": None if value is None else _toml(value),
            "default": _plain(default),
            "unit": key.metadata["unit"],
            "source": effective.sources.get((section, key.name), "default"),
            "reason": key.metadata["reason"],
        }


def _default(key: Any) -> object:
    return key.default.factory() if isinstance(key.default, attrs.Factory) else key.default  # type: ignore[arg-type]


def _comment(row: dict[str, Any]) -> str:
    default = "none" if row["default"] is None else json.dumps(row["default"])
    return f"{row['reason']} (unit: {row['unit']}; default: {default}; from: {row['source']})"


def _plain(value: object) -> object:
    """Return a value as it is written in a file. A duration is the only float among the settings."""
    if isinstance(value, float):
        return write_duration(Duration(value))
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, Address | Path):
        return str(value)
    return value


def _toml(value: object) -> str:
    # A string of JSON is one of TOML, and so are its numbers, booleans and lists of them.
    return json.dumps(_plain(value), ensure_ascii=False)
