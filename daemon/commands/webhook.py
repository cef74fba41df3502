"""The command `webhook`: the subscriptions of a running daemon, or of a log that none holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

import click

from ..registry.webhook_options import EVENT_TYPES
from .desk import open_desk, pages
from .options import output_format, time_of
from .printing import FORMATS, print_object, print_rows
from .station import at_desk

COLUMNS = ("id", "state", "url", "events", "stations", "name")


@click.group(epilog="Example: stationkeeper webhook add https://example.com/hook")
def webhook() -> None:
    """Subscribe receivers to what happens.

    The commands talk to a running daemon (--url, its token in STATIONKEEPER_TOKEN), or change a log that no daemon
    holds (--log).
    """


@webhook.command(
    epilog="Example: stationkeeper webhook add https://example.com/hook --event chargestation.offline --station 'CP-1*'"
)
@click.argument("receiver", metavar="URL")
@click.option(
    "--event",
    "events",
    metavar="TYPE",
    multiple=True,
    help=f"Ask for this type: {', '.join(EVENT_TYPES)}.  [default: the first two]",
)
@click.option("--station", "stations", metavar="PATTERN", multiple=True, help="Of these stations.  [default: *]")
@click.option("--initial", type=click.Choice(["none", "state"]), help="state: first tell it the state of each station.")
@click.option("--name", help="What people call it.")
@output_format("table", "json", default="table")
@at_desk
def add(
    receiver: str,
    events: tuple[str, ...],
    stations: tuple[str, ...],
    initial: str | None,
    name: str | None,
    form: str,
    url: str | None,
    log: str | None,
) -> None:
    """Subscribe URL. The secret that its messages are signed with is printed once."""
    body = {"url": receiver, **_given(events=events, stations=stations, initial=initial, name=name)}
    with open_desk(url, log, make=True) as desk:
        answer = desk.call("POST", "/webhooks", body)
    _print_secret(f"{answer['id']} is subscribed", answer, form)


@webhook.command("list", epilog="Example: stationkeeper webhook list")
@output_format(*FORMATS, default="table")
@at_desk
def list_(form: str, url: str | None, log: str | None) -> None:
    """List the webhooks."""
    with open_desk(url, log) as desk:
        print_rows(pages(desk, "/webhooks"), COLUMNS, form)


@webhook.command(epilog="Example: stationkeeper webhook show wh_06fm3 --format json")
@click.argument("id")
@output_format("table", "json", default="table")
@at_desk
def show(id: str, form: str, url: str | None, log: str | None) -> None:
    """Show all that is known of webhook ID."""
    with open_desk(url, log) as desk:
        print_object(desk.call("GET", _path(id)), form)


@webhook.command(epilog="Example: stationkeeper webhook update wh_06fm3 --to https://example.com/new-hook")
@click.argument("id")
@click.option("--to", "receiver", metavar="URL", help="Where its messages go, those that wait included.")
@click.option("--event", "events", metavar="TYPE", multiple=True, help="Ask for these types instead.")
@click.option("--station", "stations", metavar="PATTERN", multiple=True, help="Of these stations instead.")
@click.option("--name", help="What people call it.")
@at_desk
def update(
    id: str,
    receiver: str | None,
    events: tuple[str, ...],
    stations: tuple[str, ...],
    name: str | None,
    url: str | None,
    log: str | None,
) -> None:
    """Change webhook ID."""
    body = _given(url=receiver, events=events, stations=stations, name=name)
    if not body:
        raise click.UsageError("say what to change; see --help")
    with open_desk(url, log) as desk:
        desk.call("PATCH", _path(id), body)
    click.echo(f"{id} is changed")


@webhook.command(epilog="Example: stationkeeper webhook test wh_06fm3")
@click.argument("id")
@at_desk
def test(id: str, url: str | None, log: str | None) -> None:
    """Send webhook ID a webhook.ping."""
    _post(id, "test", url, log)
    click.echo(f"a webhook.ping is owed to {id}")


@webhook.command(epilog="Example: stationkeeper webhook pause wh_06fm3")
@click.argument("id")
@at_desk
def pause(id: str, url: str | None, log: str | None) -> None:
    """Send webhook ID nothing for now. What it is owed gathers, up to 64 messages a station."""
    _post(id, "pause", url, log)
    click.echo(f"{id} is paused")


@webhook.command(epilog="Example: stationkeeper webhook enable wh_06fm3")
@click.argument("id")
@at_desk
def enable(id: str, url: str | None, log: str | None) -> None:
    """Send to webhook ID again, after a pause or after it was disabled."""
    _post(id, "enable", url, log)
    click.echo(f"{id} is active")


@webhook.command("rotate-secret", epilog="Example: stationkeeper webhook rotate-secret wh_06fm3")
@click.argument("id")
@click.option("--at-once", is_flag=True, help="For a secret that leaked: the old one signs no more.")
@output_format("table", "json", default="table")
@at_desk
def rotate_secret(id: str, at_once: bool, form: str, url: str | None, log: str | None) -> None:
    """Give webhook ID a new secret, and print it once. The old one signs beside it until the next rotation."""
    answer = _post(id, "rotate-secret", url, log, {"at_once": True} if at_once else {})
    _print_secret(f"{id} has a new secret", answer, form)


@webhook.command(epilog="Example: stationkeeper webhook recover wh_06fm3 --since 2026-11-22T09:00:00Z")
@click.argument("id")
@click.option("--since", metavar="TIME|POSITION", required=True, help="From then on, that moment included.")
@click.option("--until", metavar="TIME|POSITION", help="Up to then.  [default: now]")
@at_desk
def recover(id: str, since: str, until: str | None, url: str | None, log: str | None) -> None:
    """Send webhook ID again what was given up or skipped since then."""
    body = {"since": _place(since, "--since")}
    if until is not None:
        body["until"] = _place(until, "--until")
    answer = _post(id, "recover", url, log, body)
    click.echo(f"what was given up is owed to {id} again; it is now owed {answer['owed']['pending']} in all")


@webhook.command(epilog="Example: stationkeeper webhook remove wh_06fm3")
@click.argument("id")
@at_desk
def remove(id: str, url: str | None, log: str | None) -> None:
    """Remove webhook ID. What it is still owed is cancelled."""
    with open_desk(url, log) as desk:
        desk.call("DELETE", _path(id))
    click.echo(f"{id} is removed")


def _path(id: str) -> str:
    return f"/webhooks/{quote(id, safe='')}"


def _post(id: str, action: str, url: str | None, log: str | None, body: Mapping[str, Any] | None = None) -> Any:
    with open_desk(url, log) as desk:
        return desk.call("POST", f"{_path(id)}/{action}", body)


def _given(**fields: Any) -> dict[str, Any]:
    return {
        key: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
        for key, value in fields.items()
        if value is not None and value != ()
    }


def _place(place: str, option: str) -> int | str:
    """Return a position as a number, and a time as it was written, once it is sure that it is one."""
    if place.isascii() and place.isdigit():
        return int(place)
    time_of(place, option=option)
    return place


def _print_secret(done: str, answer: Mapping[str, Any], form: str) -> None:
    if form == "json":
        print_object(answer, form)
        return
    click.echo(done)
    click.echo(f"secret (shown this once): {answer['secret']}")
