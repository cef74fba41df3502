"""Write the reference pages that follow from the code: `python docs/generate.py`. A test says when they are stale."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import trio

from stationkeeper.daemon import cli
from stationkeeper.daemon.app import create_app
from stationkeeper.daemon.configuration import config, units
from stationkeeper.daemon.configuration.webhooks import WebhookSection
from stationkeeper.daemon.http.tokens import Tokens
from stationkeeper.daemon.metrics import Metrics
from stationkeeper.daemon.reasons import REASONS
from stationkeeper.daemon.registry.registrar import Registrar
from stationkeeper.daemon.registry.webhook_requests import UrlPolicy
from stationkeeper.engine import events, open_engine
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.projections import conflicts, deliveries, outbox, presence, refusals, registry, webhooks

PROJECTIONS = (presence, registry, webhooks, outbox, conflicts, refusals, deliveries)
REFERENCE = Path(__file__).parent / "reference"
CONTEXT: dict[str, Any] = {"terminal_width": 100, "help_option_names": ["-h", "--help"]}
NOTICE = "<!-- Written by docs/generate.py from the code: change it there. -->\n\n"


def field_docs(module: ModuleType) -> dict[str, dict[str, tuple[str, str]]]:
    """Return, for each class of a module, its own fields: name -> (type as written, the string under it)."""
    return {
        node.name: dict(_documented(node))
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef)
    }


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, tuple[str, str]]]:
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            yield statement.target.id, (ast.unparse(statement.annotation), text)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cell(entry) for entry in line) + " |" for line in lines]


def first_paragraph(thing: type[Any]) -> str:
    return " ".join((inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0]).split())


def events_page() -> str:
    """Every kind, and every field of its body."""
    documented = field_docs(events)
    lines = [
        "# Events",
        "",
        "Everything that Stationkeeper records is one of these events. Each stands in an envelope (see"
        " [the log](log-format.md)); below are the bodies. Times are microseconds since 1970-01-01 UTC, durations are"
        " seconds. Within a schema number only optional fields are added.",
        "",
    ]
    family = ""
    for kind, cls in events.KINDS.items():
        if kind.partition(".")[0] != family:
            family = kind.partition(".")[0]
            lines += [f"## {family}", ""]
        lines += [f"### `{kind}`", "", f"Schema {cls.schema}. {_summary_of(cls)}", "", *_fields_table(cls, documented)]
    lines += ["## Values inside bodies", ""]
    for value in (events.Validity, events.PingSettings):
        lines += [f"### {value.__name__}", "", first_paragraph(value), "", *_fields_table(value, documented)]
    causes = ", ".join(f"`{cause}`" for cause in events.Cause.__args__)  # type: ignore[attr-defined]
    lines += ["### Cause", "", f"Why a connection ended: {causes}. Only `shutdown`, our own stop, keeps the flag.", ""]
    return NOTICE + "\n".join(lines)


def _summary_of(cls: type[events.Event]) -> str:
    # Kinds that only differ in name from their base say what they are there. attrs gives no docstring of its own.
    return next(first_paragraph(base) for base in cls.__mro__ if base.__doc__)


def _fields_table(cls: type[Any], documented: dict[str, dict[str, tuple[str, str]]]) -> list[str]:
    own = {name: said for base in reversed(cls.__mro__) for name, said in documented.get(base.__name__, {}).items()}
    rows = []
    for one in attrs.fields(cls):
        kind, text = own[one.name]
        default = "required" if one.default is attrs.NOTHING else f"`{one.default!r}`"
        rows.append((f"`{one.name}`", f"`{kind}`", default, text))
    return [*table(("field", "type", "default", "meaning"), rows), ""] if rows else ["It has no fields.", ""]


def configuration_page() -> str:
    """Every section and key of the configuration file."""
    lines = [
        "# Configuration",
        "",
        "The daemon reads TOML: the file named by `--config`, else `stationkeeper.toml` in the working folder, else"
        " nothing. A variable `STATIONKEEPER_<SECTION>_<KEY>` stands above the file, a flag above both."
        " An unknown key is an error that suggests the nearest known one."
        " `stationkeeper config` prints the settings in force, and where each comes from.",
        "",
        'Durations are strings with a unit (`"25s"`, `"1m30s"`, `"2h"`) or numbers of seconds.',
        "",
    ]
    for name, section in config.SECTIONS.items():
        lines += [f"## [{name}]", "", first_paragraph(section), "", *_keys_table(section)]
    lines += ["## [[webhook]]", "", first_paragraph(WebhookSection), "", *_keys_table(WebhookSection)]
    return NOTICE + "\n".join(lines)


def _keys_table(section: type[Any]) -> list[str]:
    rows = []
    for key in attrs.fields(section):
        rows.append((f"`{key.name}`", key.metadata["unit"], _default(key.default), key.metadata["reason"]))
    return [*table(("key", "unit", "default", "why"), rows), ""]


def _default(value: object) -> str:
    if value is attrs.NOTHING:
        return "required"
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return "taken from the machine"
    if value is None:
        return "none"
    return f"`{_written(value)}`"


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f'"{units.write_duration(value)}"'
    return str(value) if isinstance(value, int | dict) else f'"{value}"'


def commands_page() -> str:
    """Every command, as its `--help` shows it."""
    lines = [
        "# Commands",
        "",
        "`stationkeeper`, or `python -m stationkeeper`. Exit codes: 0 done (also after a signal's orderly stop); 1 a"
        " check failed, or a request was refused; 2 wrong usage or configuration; 3 the log is locked, missing or"
        " damaged.",
        "",
    ]
    for path, context in commands(click.Context(cli.cli, info_name="stationkeeper", **CONTEXT)):
        lines += [f"## {path}", "", "```text", context.get_help(), "```", ""]
    return NOTICE + "\n".join(lines)


def commands(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """Yield a command and all below it, each with its path and its context."""
    yield context.command_path, context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(click.Context(command, info_name=name, parent=context, **CONTEXT))


def http_page() -> str:
    """Every route of the OpenAPI document that the daemon serves."""
    document = trio.run(openapi)
    lines = [
        "# HTTP API",
        "",
        "JSON over HTTP/1.1. The daemon serves what follows as an OpenAPI document at `/openapi.json` and as a page at"
        " `/docs`; its dashboard is at `/`.",
        "",
        "With a token file, requests bear `Authorization: Bearer <token>`: `read` tokens may ask, `admin` tokens may"
        " change. Without one, the API listens on loopback only and answers whoever is on the machine. Errors are"
        ' problem documents (RFC 9457). Lists come in pages: `{"data": [...], "next": "<cursor>" | null}`. Times'
        " are RFC 3339, in UTC.",
        "",
    ]
    for path, routes in document["paths"].items():
        for method, operation in routes.items():
            summary = operation["summary"].rstrip(".?")
            lines += [f"## {method.upper()} {path}", "", f"{summary}. {operation.get('description', '')}".rstrip(), ""]
            lines += _parameters(operation) + _exchange(operation)
    lines += ["## Objects", ""]
    for name, schema in document["components"]["schemas"].items():
        text = " ".join(schema.get("description", "").split())
        lines += [f"### {name}", "", *([text, ""] if text else []), *_properties(schema)]
    return NOTICE + "\n".join(lines)


def _parameters(operation: dict[str, Any]) -> list[str]:
    rows = [
        (f"`{one['name']}`", one["in"], _type(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    return [*table(("parameter", "in", "type", "meaning"), rows), ""] if rows else []


def _exchange(operation: dict[str, Any]) -> list[str]:
    """What is sent, and what comes back."""
    lines = [f"Body: {_content(operation['requestBody'])}.", ""] if "requestBody" in operation else []
    answers = [f"`{code}` {_content(answer)}" for code, answer in operation["responses"].items() if code != "default"]
    return [*lines, f"Answer: {', '.join(answers)}.".replace(" .", "."), ""]


def _content(part: dict[str, Any]) -> str:
    return " or ".join(_type(one.get("schema", {})) or f"`{kind}`" for kind, one in part.get("content", {}).items())


def _properties(schema: dict[str, Any]) -> list[str]:
    rows = [(f"`{name}`", _type(one), one.get("description", "")) for name, one in schema.get("properties", {}).items()]
    return [*table(("field", "type", "meaning"), rows), ""] if rows else []


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", ""))


def metrics_page() -> str:
    """Every metric of our own that the daemon tells Prometheus."""
    text = trio.run(metrics_of_nothing)
    helps = dict(re.findall(r"^# HELP (stationkeeper_\w+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (stationkeeper_\w+) (.*)$", text, re.MULTILINE))
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` answers in Prometheus' text format: what stands here, and the process's and Python's own"
        " (`process_*`, `python_*`). No label takes its values from a peer, so the number of series is bounded by what"
        " you configured.",
        "",
        *table(("metric", "type", "is"), [(f"`{name}`", types[name], helps[name]) for name in helps]),
        "",
    ]
    return NOTICE + "\n".join(lines)


def refusals_page() -> str:
    """Every reason for which a station is turned away."""
    lines = [
        "# Refusals",
        "",
        "Whoever is not let in is recorded as [`handshake.refused`](events.md), with one of these reasons and, where"
        " we know more of the case, a hint. The peer is told the status alone; some are told when to come again"
        " (`Retry-After`). [Why does my station not connect?](../how-to/find-out-why-a-station-does-not-connect.md)"
        " says where to look.",
        "",
        *table(
            ("reason", "status", "the station was turned away because", "what to do"),
            [(f"`{name}`", one.status, one.meaning, one.remedy) for name, one in sorted(REASONS.items())],
        ),
        "",
    ]
    return NOTICE + "\n".join(lines)


async def metrics_of_nothing() -> str:
    async with open_engine(MemoryLog(), projections=PROJECTIONS, inline=True) as engine:
        return Metrics(engine).text().decode()


async def openapi() -> dict[str, Any]:
    """Ask the daemon's application for its OpenAPI document, without any socket."""
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    async with open_engine(MemoryLog(), projections=PROJECTIONS, inline=True) as engine:
        app = create_app(engine, Registrar(engine, policy=UrlPolicy()), tokens=Tokens())
        await app(
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/openapi.json",
                "raw_path": b"/openapi.json",
                "root_path": "",
                "query_string": b"",
                "headers": [(b"host", b"localhost")],
                "client": ("127.0.0.1", 1),
                "server": ("localhost", 80),
            },
            receive,
            send,
        )
    document: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in told))
    return document


PAGES: dict[str, Callable[[], str]] = {
    "events.md": events_page,
    "configuration.md": configuration_page,
    "commands.md": commands_page,
    "http-api.md": http_page,
    "metrics.md": metrics_page,
    "refusals.md": refusals_page,
}
"""The pages that this writes, in docs/reference."""


if __name__ == "__main__":
    for page, write in PAGES.items():
        (REFERENCE / page).write_text(write())
