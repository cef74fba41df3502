"""What `webhook add` and `webhook update` can be told of a webhook, and what the API is given for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import click

from ..registry.webhook_options import EVENT_TYPES, FORMATS, MODES, SIGNATURES

F = TypeVar("F", bound=Callable[..., Any])

REMOVABLE: Final = ("client-certificate", "authorities", "rate", "concurrency")
"""What a webhook may be without."""
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

Option: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]
"""What `click.option` is given."""


def _option(*names: str, **more: Any) -> Option:
    return names, more


_OPTIONS: Final[tuple[Option, ...]] = (
    _option(
        "--event",
        "events",
        metavar="TYPE",
        multiple=True,
        help=f"Ask for this type: {', '.join(EVENT_TYPES)}.  [default: the first two]",
    ),
    _option("--station", "stations", metavar="PATTERN", multiple=True, help="Of these stations.  [default: *]"),
    _option("--site", "sites", metavar="PATTERN", multiple=True, help="Of stations at these sites.  [default: *]"),
    _option("--name", help="What people call it."),
    _option(
        "--mode",
        type=click.Choice(MODES),
        help="latest: of what waits for a station, only its newest state is sent.  [default: every]",
    ),
    _option("--body-format", "format", type=click.Choice(FORMATS), help="Of bodies.  [default: standard]"),
    _option(
        "--signature",
        "signatures",
        type=click.Choice(SIGNATURES),
        multiple=True,
        help="Sign with a secret (v1), an Ed25519 key (v1a), or both.  [default: v1]",
    ),
    _option(
        "--header", "header", metavar="'NAME: VALUE'", multiple=True, help="Send this header, too. Others see commands."
    ),
    _option("--header-file", metavar="NAME=PATH", multiple=True, help="Send this header, with what stands in a file."),
    _option(
        "--client-certificate",
        metavar="FILE",
        type=_FILE,
        help="PEM: the certificate to show, those between it and its authority, and its key.",
    ),
    _option("--authorities", metavar="FILE", type=_FILE, help="PEM: who vouches for the receiver."),
    _option("--rate", type=float, metavar="NUMBER", help="Messages a second, at most."),
    _option("--concurrency", type=int, metavar="NUMBER", help="Attempts in flight, at most."),
)


def options_of_a_webhook(*, new: bool) -> Callable[[F], F]:
    """Add the options that say how a webhook is to be; where one is changed, what is left out has no default."""

    def add(command: F) -> F:
        for names, more in reversed(_OPTIONS):
            help = more["help"] if new else more["help"].partition("  [default:")[0]
            command = click.option(*names, **{**more, "help": help})(command)
        return command

    return add


def said_of_a_webhook(
    *,
    header: Iterable[str],
    header_file: Iterable[str],
    client_certificate: Path | None,
    authorities: Path | None,
    no_header: Iterable[str] = (),
    without: Iterable[str] = (),
    **plain: Any,
) -> dict[str, Any]:
    """Return what the API is given for the options of a command; what was left out is not in it.

    Raises:
        UsageError: a header is not written as one, or a file cannot be read.
    """
    said: dict[str, Any] = dict(plain)
    said["client_certificate"] = _content("--client-certificate", client_certificate)
    said["authorities"] = _content("--authorities", authorities)
    headers = _headers(header, header_file, no_header)
    given = {key: value for key, value in said.items() if value is not None and value != ()}
    for name in without:
        key = name.replace("-", "_")
        if key in given:
            raise click.UsageError(f"--without {name} takes away what --{name} gives; say one of them")
        given[key] = None
    return given | ({"headers": headers} if headers else {})


def _headers(header: Iterable[str], header_file: Iterable[str], no_header: Iterable[str]) -> dict[str, str | None]:
    headers: dict[str, str | None] = dict.fromkeys(no_header)
    for line in header:
        name, colon, value = line.partition(":")
        if not colon:
            raise click.UsageError("--header: write a name, a colon and a value, e.g. 'X-Team: grid'")
        headers[name.strip()] = value.strip()
    for pair in header_file:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise click.UsageError(f"--header-file {pair}: write NAME=PATH, e.g. Authorization=receiver.token")
        headers[name.strip()] = (_content("--header-file", Path(path)) or "").strip()
    return headers


def _content(option: str, file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{option}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{option}: {file} is no text in UTF-8") from None
