"""The command `webhook`: the subscriptions of a running daemon, or of a log that none holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from ..words import count
from .desk import open_desk, pages
from .options import output_format, time_of
from .printing import FORMATS, print_object, print_rows
from .station import at_desk
from .webhook_options import REMOVABLE, options_of_a_webhook, said_of_a_webhook
from .webhook_picture import picture, reason_of, seconds_of, shown

COLUMNS = ("id", "state", "url", "events", "stations", "name", "problem")
TABLE_COLUMNS = ("id", "state", "name", "url", "problem")
"""Those that fit a terminal."""
MESSAGE_COLUMNS = ("id", "type", "subject", "position", "round", "attempts", "nextAttemptAt")


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
@options_of_a_webhook(new=True)
@click.option("--initial", type=click.Choice(["none", "state"]), help="state: first tell it the state of each station.")
@output_format("table", "json", default="table")
@at_desk
def add(receiver: str, form: str, url: str | None, log: str | None, **said: Any) -> None:
    """Subscribe URL. The secret that its messages are signed with is printed once."""
    body = {"url": receiver, **said_of_a_webhook(**said)}
    with open_desk(url, log, make=True) as desk:
        answer = desk.call("POST", "/webhooks", body)
    _print_secret(f"{answer['id']} is subscribed", answer, form)


@webhook.command("list", epilog="Example: stationkeeper webhook list")
@output_format(*FORMATS, default="table")
@at_desk
def list_(form: str, url: str | None, log: str | None) -> None:
    """List the webhooks."""
    with open_desk(url, log) as desk:
        rows = pages(desk, "/webhooks")
        if form in ("table", "csv"):
            rows = ({**row, "problem": reason_of(row)} for row in rows)
        print_rows(rows, TABLE_COLUMNS if form == "table" else COLUMNS, form)


@webhook.command(epilog="Example: stationkeeper webhook show wh_06fm3 --format json")
@click.argument("id")
@output_format("table", "json", default="table")
@at_desk
def show(id: str, form: str, url: str | None, log: str | None) -> None:
    """Show all that is known of webhook ID."""
    with open_desk(url, log) as desk:
        found = desk.call("GET", _path(id))
        if form == "json":
            print_object(found, form)
        else:
            click.echo(shown(picture(found, desk.call("GET", _path(id) + "/history?hours=24"))))


@webhook.command(epilog="Example: stationkeeper webhook update wh_06fm3 --to https://example.com/new-hook")
@click.argument("id")
@click.option("--to", "receiver", metavar="URL", help="Where its messages go, those that wait included.")
@options_of_a_webhook(new=False)
@click.option("--no-header", metavar="NAME", multiple=True, help="Send this header no more.")
@click.option(
    "--without",
    type=click.Choice(REMOVABLE),
    multiple=True,
    help="Show no certificate, believe the system's authorities, or lift a limit.",
)
@at_desk
def update(id: str, receiver: str | None, url: str | None, log: str | None, **said: Any) -> None:
    """Change webhook ID. What is not named stays as it is; of headers, too."""
    body = said_of_a_webhook(url=receiver, **said)
    if not body:
        raise click.UsageError("say what to change; see --help")
    with open_desk(url, log) as desk:
        before = desk.call("GET", _path(id))
        there = {name.lower() for name in before["headers"]}
        for name in said["no_header"]:
            if name.lower() not in there:
                has = ", ".join(before["headers"]) or "none"
                raise click.UsageError(f"--no-header {name}: the webhook sends no such header; its own are: {has}")
        answer = desk.call("PATCH", _path(id), body)
    changed = answer["updatedAt"] != before["updatedAt"]
    _print_secret(f"{id} is changed" if changed else f"{id} was so already; nothing is changed", answer, "table")


@webhook.command(epilog="Example: stationkeeper webhook test wh_06fm3")
@click.argument("id")
@at_desk
def test(id: str, url: str | None, log: str | None) -> None:
    """Send webhook ID a webhook.ping."""
    answer = _post(id, "test", url, log)
    click.echo(f"a webhook.ping is owed to {id}")
    _hint_at_silence(answer)


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


@webhook.command("rotate-secret", epilog="Example: stationkeeper webhook rotate-secret wh_06fm3 --overlap 72h")
@click.argument("id")
@click.option(
    "--overlap",
    metavar="DURATION",
    help="For how long the old ones sign, too; 0s for a secret that leaked.  [default: 24h]",
)
@output_format("table", "json", default="table")
@at_desk
def rotate_secret(id: str, overlap: str | None, form: str, url: str | None, log: str | None) -> None:
    """Give webhook ID a new secret, and print it once; and a new key, if it has one."""
    answer = _post(id, "rotate-secret", url, log, {} if overlap is None else {"overlap": overlap})
    until = answer["retiredAt"]
    older = f"the older ones sign, too, until {seconds_of(until)}" if until else "the older ones sign no more"
    _print_secret(f"{id} signs anew; {older}", answer, form)


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
    with open_desk(url, log) as desk:
        before = desk.call("GET", _path(id))["owed"]
        answer = desk.call("POST", f"{_path(id)}/recover", body)
    owed = answer["owed"]
    # Either may lack some: what is owed is sent meanwhile, and of what is settled the oldest is forgotten.
    settled = before["parked"] + before["skipped"] - owed["parked"] - owed["skipped"]
    again = max(settled, owed["pending"] - before["pending"], 0)
    click.echo(f"{count(again, 'message')} owed to {id} again; it is now owed {owed['pending']} in all")
    _hint_at_silence(answer)


@webhook.command(epilog="Example: stationkeeper webhook messages wh_06fm3 --state parked")
@click.argument("id")
@click.option(
    "--state",
    type=click.Choice(["pending", "delivered", "parked", "skipped"]),
    default="pending",
    show_default=True,
    help="What became of them.",
)
@output_format(*FORMATS, default="table")
@at_desk
def messages(id: str, state: str, form: str, url: str | None, log: str | None) -> None:
    """List the messages of webhook ID in a state: all pending ones, and of the others the newest."""
    with open_desk(url, log) as desk:
        print_rows(pages(desk, f"{_path(id)}/messages", state=state), MESSAGE_COLUMNS, form)


@webhook.command(epilog="Example: stationkeeper webhook skip msg_ABCDEFGHIJKLMNOPQRSTUVWXYZ")
@click.argument("message")
@at_desk
def skip(message: str, url: str | None, log: str | None) -> None:
    """Send MESSAGE, which is pending, no more. What waits behind it goes on."""
    with open_desk(url, log) as desk:
        desk.call("POST", f"/messages/{quote(message, safe='')}/skip")
    click.echo(f"{message} is skipped")


@webhook.command(epilog="Example: stationkeeper webhook redeliver msg_ABCDEFGHIJKLMNOPQRSTUVWXYZ")
@click.argument("message")
@at_desk
def redeliver(message: str, url: str | None, log: str | None) -> None:
    """Send MESSAGE, which is pending no more, again: the same id, the same body."""
    with open_desk(url, log) as desk:
        desk.call("POST", f"/messages/{quote(message, safe='')}/redeliver")
    click.echo(f"{message} is owed again")


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


def _hint_at_silence(webhook: Mapping[str, Any]) -> None:
    """Say so if what was asked for is not sent for now."""
    if webhook["state"] not in ("paused", "disabled"):
        return
    reason = reason_of(webhook)
    if webhook["state"] == "disabled" or not reason:
        click.echo(f"it is {webhook['state']}: nothing is sent until `stationkeeper webhook enable {webhook['id']}`")
    else:
        click.echo(f"nothing may reach it for now: {reason}")


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
    if answer.get("public_key"):
        click.echo(f"public key: {answer['public_key']}")
    if answer.get("secret"):
        click.echo(f"secret (shown this once): {answer['secret']}")
