"""The command `station`: the registry of a running daemon, or of a log that none holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import click

from ...engine.log.driver import log_path
from ..configuration.units import parse_duration
from ..registry.requests import LENIENT, PROFILES, SECURITY, SUBPROTOCOLS
from .desk import open_desk, pages
from .enlisting import Enlisted, enlist, lines_of, read_list
from .options import output_format
from .printing import FORMATS, print_csv, print_object, print_rows

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("id", "online", "observed", "protocol", "lastConnectAt", "lastDisconnectAt", "name", "site")


class DurationType(click.ParamType[float]):
    """A duration on the command line, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(float(value) if str(value).replace(".", "", 1).isdigit() else value)
        except ValueError as error:
            self.fail(f"{value!r}: wanted is {error}", param, ctx)


@click.group(epilog="Example: stationkeeper station add CP-7 --generate")
def station() -> None:
    """Register stations, and give them passwords.

    The commands talk to a running daemon (--url, its token in STATIONKEEPER_TOKEN), or change a log that no daemon
    holds (--log).
    """


def at_desk(command: F) -> F:
    """Add the options that choose where a request goes."""
    for option in (
        click.option("--log", metavar="LOG", help="Change a log that no daemon holds, instead of asking a daemon."),
        click.option(
            "--url",
            metavar="URL",
            help="The daemon.  [default: what STATIONKEEPER_URL says, else http://127.0.0.1:8080]",
        ),
    ):
        command = option(command)
    return command


def described(command: F) -> F:
    """Add the options that describe a station."""
    for option in (
        click.option("--silence", type=DurationType(), help="Without a ping: how long silence is taken for life."),
        click.option("--ping-timeout", type=DurationType(), help="How long a ping to it may go unanswered."),
        click.option("--ping-interval", type=DurationType(), help="Silence until it is pinged; 0: never."),
        click.option("--site", help="Where it stands."),
        click.option("--name", help="What people call it."),
        click.option(
            "--lenient",
            type=click.Choice(LENIENT),
            multiple=True,
            help="Forgive it: a user name that is not its id; a request without Connection: Upgrade; foreign "
            "subprotocols alone (it is taken for --protocol); a foreign Origin.",
        ),
        click.option("--serial", help="What its certificate's common name may be instead of its id."),
        click.option(
            "--profile",
            type=click.Choice([*map(str, PROFILES), "any"]),
            help="The OCPP security profile that it must come with.",
        ),
        click.option(
            "--security",
            type=click.Choice(SECURITY),
            help="mtls: it shows a client certificate; none: it is let in without a password.",
        ),
        click.option("--protocol", type=click.Choice(SUBPROTOCOLS), help="What it speaks if it does not say so."),
        click.option("--generate", is_flag=True, help="Generate a password, and print it once."),
        click.option("--password-stdin", is_flag=True, help="Read its password from standard input."),
    ):
        command = option(command)
    return command


@station.command(epilog="Example: stationkeeper station add CP-7 --generate --name 'Car park, bay 7'")
@click.argument("id")
@described
@output_format("table", "json", default="table")
@at_desk
def add(id: str, url: str | None, log: str | None, form: str, **options: Any) -> None:
    """Register station ID. A generated password is printed once: 40 hex digits, good for every OCPP version."""
    body = {"id": id, **_described(options)}
    asked = options["security"] in (None, "basic") and options["profile"] != "3"
    if asked and not options["generate"] and "password" not in body:
        raise click.UsageError(
            "give --password-stdin or --generate; or --security mtls to ask for a client certificate, or none to ask "
            "for nothing"
        )
    with open_desk(url, log, make=True) as desk:
        answer = desk.call("POST", "/chargestations", body)
    _print_answer(f"{id} is registered", answer, form)


@station.command(
    "import",
    epilog="Example: stationkeeper station import fleet.csv --generate --dry-run",
)
@click.argument("file", type=click.File("rb"))
@click.option("--generate", is_flag=True, help="Generate passwords for those that have none, and print them once.")
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
@at_desk
def import_(file: Any, generate: bool, dry_run: bool, url: str | None, log: str | None) -> None:
    """Register the stations of a CSV FILE, all of them or none.

    Columns: id; password (text, or a key as hex digits), password_hex or password_base64 (a key's bytes); protocol,
    security, profile, serial, lenient (with spaces between), name, site, ping_interval, ping_timeout, silence.
    Generated passwords are printed as CSV: id,password.
    """
    stations = read_list(lines_of(file.read()), generate=generate)
    enlisted: list[Enlisted] = []
    # Of a log that is yet to be made nothing is known that could speak against them.
    if not dry_run or log is None or log_path(log).exists():
        with open_desk(url, log, make=not dry_run) as desk:
            enlisted = enlist(desk, stations, dry_run=dry_run)
    _print_enlisted(enlisted, len(stations), dry_run=dry_run)


@station.command("list", epilog="Example: stationkeeper station list --offline --format csv > offline.csv")
@click.option("--online/--offline", default=None, help="Only those.  [default: all]")
@output_format(*FORMATS, default="table")
@at_desk
def list_(online: bool | None, form: str, url: str | None, log: str | None) -> None:
    """List the stations."""
    query = {} if online is None else {"online": str(online).lower()}
    with open_desk(url, log) as desk:
        print_rows(pages(desk, "/chargestations", **query), COLUMNS, form)


@station.command(epilog="Example: stationkeeper station show CP-7 --format json")
@click.argument("id")
@output_format("table", "json", default="table")
@at_desk
def show(id: str, form: str, url: str | None, log: str | None) -> None:
    """Show all that is known of station ID."""
    with open_desk(url, log) as desk:
        print_object(desk.call("GET", _path(id)), form)


@station.command(epilog="Example: stationkeeper station update CP-7 --generate --overlap 24h")
@click.argument("id")
@described
@click.option("--overlap", type=DurationType(), help="How long the old password stays good beside a new one.")
@click.option("--strict", is_flag=True, help="Forgive it nothing any more.")
@output_format("table", "json", default="table")
@at_desk
def update(
    id: str, overlap: float | None, strict: bool, url: str | None, log: str | None, form: str, **options: Any
) -> None:
    """Change station ID. With a new password the old one ends, and with it the connection that used it."""
    body = _described(options)
    if strict:
        if "lenient" in body:
            raise click.UsageError("give --lenient or --strict, not both")
        body["lenient"] = []
    if overlap is not None:
        if not options["generate"] and "password" not in body:
            raise click.UsageError("--overlap goes with a new password: give --password-stdin or --generate")
        body["overlap"] = overlap
    if not body:
        raise click.UsageError("say what to change; see --help")
    with open_desk(url, log) as desk:
        answer = desk.call("PATCH", _path(id), body)
    _print_answer(f"{id} is changed", answer, form)


@station.command(epilog="Example: stationkeeper station remove CP-7")
@click.argument("id")
@at_desk
def remove(id: str, url: str | None, log: str | None) -> None:
    """Remove station ID, and drop its connection. Its history stays."""
    with open_desk(url, log) as desk:
        desk.call("DELETE", _path(id))
    click.echo(f"{id} is removed")


def _path(id: str) -> str:
    return f"/chargestations/{quote(id, safe='')}"


def _described(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that were given."""
    if options["generate"] and options["password_stdin"]:
        raise click.UsageError("give --password-stdin or --generate, not both")
    plain = ("protocol", "security", "serial", "name", "site")
    body = {key: options[key] for key in plain if options[key] is not None}
    if options["profile"] is not None:
        body["profile"] = None if options["profile"] == "any" else int(options["profile"])
    if options["serial"] == "":
        body["serial"] = None
    if options["lenient"]:
        body["lenient"] = list(options["lenient"])
    liveness = {key: options[key] for key in ("ping_interval", "ping_timeout", "silence") if options[key] is not None}
    if liveness:
        body["liveness"] = liveness
    if options["generate"]:
        body["generate"] = True
    if options["password_stdin"]:
        body["password"] = _password_from_stdin()
    return body


def _password_from_stdin() -> str:
    line = sys.stdin.buffer.readline().rstrip(b"\r\n")
    try:
        return line.decode()
    except UnicodeDecodeError:
        # Raw bytes of a key: their hex digits mean the same, and survive JSON.
        return line.hex()


def _print_answer(done: str, answer: Mapping[str, Any], form: str) -> None:
    if form == "json":
        print_object(answer, form)
        return
    click.echo(done)
    if answer.get("password"):
        click.echo(f"password (shown this once): {answer['password']}")


def _print_enlisted(enlisted: list[Enlisted], count: int, *, dry_run: bool) -> None:
    generated = [{"id": one.id, "password": one.password} for one in enlisted if one.password]
    if generated:
        print_csv(generated, ("id", "password"))
    words = "would be registered; nothing was changed" if dry_run else "registered"
    click.echo(f"{count} stations {words}", err=True)
