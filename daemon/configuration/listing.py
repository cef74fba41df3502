"""`stationkeeper config`: the settings in force, each with its unit, default, source and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, cast

import attrs

from .config import SECTIONS
from .sources import Effective
from .units import Address, Duration, write_duration
from .webhooks import WebhookSection

_COMMENT_WIDTH: Final = 96


def as_toml(effective: Effective) -> str:
    """Return the settings as a file that can be read back, each under a comment on it."""
    lines: list[str] = []
    for name, cls in SECTIONS.items():
        lines += [f"# {_summary(cls)}", f"[{name}]"]
        for row in _rows(effective, name):
            lines += [f"# {line}" for line in wrap(_comment(row), _COMMENT_WIDTH)]
            value = row["toml"]
            if row["value"] is None:
                lines += [f"# {row['key']} =", ""]
            elif row["hidden"]:
                lines += ["# (what is secret in it is not shown: put it in again)", f"# {row['key']} = {value}", ""]
            else:
                lines += [f"{row['key']} = {value}", ""]
    for webhook in effective.config.webhook:
        lines += [f"# {_summary(WebhookSection)}", "[[webhook]]"]
        said = [(key, getattr(webhook, key.name)) for key in attrs.fields(WebhookSection)]
        lines += [f"{key.name} = {_toml(value, key)}" for key, value in said if value is not None]
        lines.append("")
    return "\n".join(lines)


def as_json(effective: Effective) -> str:
    """Return the settings for programs: one object a key."""
    rows = [
        {key: value for key, value in row.items() if key not in ("toml", "hidden")}
        for name in SECTIONS
        for row in _rows(effective, name)
    ]
    webhooks = [
        {key.name: _plain(getattr(webhook, key.name), key) for key in attrs.fields(WebhookSection)}
        for webhook in effective.config.webhook
    ]
    return json.dumps({"settings": rows, "webhook": webhooks}, indent=2)


def _summary(cls: type[Any]) -> str:
    return (cls.__doc__ or "").splitlines()[0]


def _rows(effective: Effective, section: str) -> Iterator[dict[str, Any]]:
    values = getattr(effective.config, section)
    for key in attrs.fields(SECTIONS[section]):
        value, default, show = getattr(values, key.name), _default(key), key.metadata.get("show")
        shown = show(value) if show and value is not None else value
        yield {
            "section": section,
            "key": key.name,
            "value": _plain(shown, key),
            "toml": _toml(shown, key),
            "hidden": shown != value,
            "default": _plain(default, key),
            "unit": key.metadata["unit"],
            "source": effective.sources.get((section, key.name), "default"),
            "reason": key.metadata["reason"],
        }


def _default(key: Any) -> object:
    return key.default.factory() if isinstance(key.default, attrs.Factory) else key.default  # type: ignore[arg-type]


def _comment(row: dict[str, Any]) -> str:
    default = "none" if row["default"] is None else json.dumps(row["default"])
    return f"{row['reason']} (unit: {row['unit']}; default: {default}; from: {row['source']})"


def _plain(value: object, key: Any) -> object:
    """Return a key's value as it is written in a file: of the floats, durations with their unit."""
    if isinstance(value, float):
        return write_duration(Duration(value)) if "duration" in key.metadata["unit"] else value
    if isinstance(value, tuple):
        return [_plain(item, key) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        return {name: _plain(item, key) for name, item in cast("dict[str, object]", value).items()}
    if isinstance(value, Address | Path):
        return str(value)
    return value


def _toml(value: object, key: Any) -> str:
    # A string of JSON is one of TOML, and so are its numbers, booleans and lists of them.
    plain = _plain(value, key)
    if isinstance(plain, dict):
        items = cast("dict[str, object]", plain).items()
        return "{" + ", ".join(f"{json.dumps(name)} = {json.dumps(item)}" for name, item in items) + "}"
    return json.dumps(plain, ensure_ascii=False)
