"""The command line: which commands there are, and what their errors mean.

A command's module is imported when the command is called, so that `--help` answers at once. Exit codes: 0 done; 1 a
check failed, or a request was refused; 2 wrong usage or configuration; 3 the log cannot be used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from keyword import iskeyword
from typing import Final, NoReturn

import click

from ..engine.errors import ClockBehind, LogError, NewerSchema, StationkeeperError, UnreadableEvent, WrongSetting
from .registry.errors import Invalid

FAILED: Final = 1
WRONG_USAGE: Final = 2
LOG_UNUSABLE: Final = 3
INTERRUPTED: Final = 130
"""Ctrl-C before the work was done, as shells have it. Where Ctrl-C is the way to end, the code is 0."""

COMMANDS: Final = {
    "serve": (".commands.serve", "Run the daemon: stations in, events kept, webhooks out."),
    "demo": (".commands.demo", "Watch the whole system work, with virtual stations and a receiver."),
    "config": (".commands.config", "Print the settings in force, each with its unit and reason."),
    "station": (".commands.station", "Register stations, and give them passwords."),
    "webhook": (".commands.webhook", "Subscribe receivers to what happens."),
    "replay": (".commands.replay", "Print the state of the fleet as of any moment of a log."),
    "events": (".commands.events", "Print the history of a log, one event a line."),
    "why": (".commands.why", "Say why a station is online or offline, from the log alone."),
    "uptime": (".commands.uptime", "Print for how long stations were online, and their outages."),
    "export": (".commands.export", "Write a log as lines of JSON."),
    "import": (".commands.import_", "Make a log of what export wrote."),
    "backup": (".commands.backup", "Copy a log, beside a running daemon, and check the copy."),
    "restore": (".commands.restore", "Take up work from a copy."),
    "keys": (".commands.keys", "Say where a log's keys are, and change the key of its secrets."),
    "redact": (".commands.redact", "Erase what is private about a station or webhook."),
    "verify": (".commands.verify", "Check that a log is the one that was written."),
    "prove": (".commands.prove", "Prove what an event was, in a file that can be checked without the log."),
    "simulate": (".commands.simulate", "Let a fleet of virtual stations dial in."),
}
"""Command -> its module, where it bears its own name (`import_` for import), and its line in the overview."""


class LateGroup(click.Group):
    """A group that imports a command when it is called, and none for the overview."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(COMMANDS[cmd_name][0], __package__), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Before click sees it, which would make an error of it.
            return _leave_in_peace()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LateGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: stationkeeper serve --open --log trial.db",
)
@click.version_option(package_name="stationkeeper")
def cli() -> None:
    """Stationkeeper tells the truth about which charging stations are online."""


def main() -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    sys.exit(run(lambda: cli.main(prog_name="stationkeeper", standalone_mode=False)))


def run(command: Callable[[], object]) -> int:
    """Run a command, show what went wrong as one line, and return the exit code."""
    try:
        result = command()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _leave_in_peace()
    except StationkeeperError as error:
        click.echo(f"Error: {error}", err=True)
        return exit_code(error)
    except BaseExceptionGroup as group:
        only = _only_ours(group)
        if only is None:
            raise
        click.echo(f"Error: {only}", err=True)
        return exit_code(only)
    return result if isinstance(result, int) else 0


def _leave_in_peace() -> int:
    """Return the exit code where whoever read our output has seen enough (`| head`), and let nothing more be written:
    Python would complain once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def exit_code(error: StationkeeperError) -> int:
    """Return the exit code that tells this error."""
    match error:
        case WrongSetting() | Invalid():
            return WRONG_USAGE
        case LogError() | NewerSchema() | UnreadableEvent() | ClockBehind():
            return LOG_UNUSABLE
        case _:
            return FAILED


def _only_ours(group: BaseExceptionGroup[BaseException]) -> StationkeeperError | None:
    """Return the first error of a group whose errors all are ours; a nursery wraps even a single one."""
    ours, others = group.split(StationkeeperError)
    if ours is None or others is not None:
        return None
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, StationkeeperError)
    return first
