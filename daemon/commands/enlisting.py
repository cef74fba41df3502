"""Import of stations from a CSV file: everything is checked first, so that all of them are registered, or none."""

from __future__ import annotations

import csv
import io
from base64 import b64decode
from binascii import Error as Base64Error
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from attrs import evolve, frozen

from ...engine.errors import StationkeeperError
from ...engine.events import PingSettings
from ..configuration.units import parse_duration
from ..meant import meant
from ..registry.credentials import SHORTEST_KEY
from ..registry.errors import Invalid, Refused
from ..registry.requests import NewStation
from .desk import Desk, pages

_PASSWORDS: Final = ("password", "password_hex", "password_base64")
_LIVENESS: Final = ("ping_interval", "ping_timeout", "silence")
COLUMNS: Final = (
    "id", *_PASSWORDS, "protocol", "security", "profile", "serial", "lenient", "name", "site", *_LIVENESS
)  # fmt: skip


@frozen
class Listed:
    """A station of the file."""

    line: int
    station: NewStation


@frozen
class Enlisted:
    """A station that was registered."""

    id: str
    password: str | None
    """Generated; shown this once."""


def lines_of(content: bytes) -> Iterable[str]:
    """Return the lines of a file in UTF-8, with or without a byte order mark.

    Raises:
        Invalid: it is written in something else; the message names the line.
    """
    content = content.removeprefix(BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Invalid(f"line {line}", "this is not UTF-8; save the file as UTF-8, and import it again") from None
    return io.StringIO(text, newline="")


def read_list(lines: Iterable[str], *, generate: bool) -> list[Listed]:
    """Read a file's stations, and check each.

    Raises:
        Invalid: one or more cannot be registered; the message names each line, and what would be right.
    """
    reader = csv.DictReader(lines, restkey="", restval="")
    _check_header(reader.fieldnames or ())
    listed: list[Listed] = []
    wrong: list[str] = []
    first: dict[str, int] = {}
    for row in reader:
        try:
            station = _station(row, generate=generate)
            station.check()
            _check_names(station, first)
            first |= dict.fromkeys(_names(station), reader.line_num)
            listed.append(Listed(reader.line_num, station))
        except Invalid as error:
            wrong.append(f"line {reader.line_num}: {error}")
    _raise_all(wrong)
    if not listed:
        raise Invalid("", "the file holds no station: below the header, a line for each")
    return listed


def enlist(desk: Desk, listed: list[Listed], *, dry_run: bool) -> list[Enlisted]:
    """Register all of them; if one is refused, those before are removed again.

    Raises:
        Invalid: ids are registered already; the message names each line.
        Refused: one was refused. None of them is registered.
    """
    there = [row for row in pages(desk, "/chargestations") if row["registered"]]
    names = {row["serial"]: row["id"] for row in there if row["serial"]} | {row["id"]: row["id"] for row in there}
    _raise_all(f"line {one.line}: {why}" for one in listed if (why := _taken(one.station, names)))
    done: list[Enlisted] = []
    if dry_run:
        return done
    for one in listed:
        try:
            answer = desk.call("POST", "/chargestations", _body(one.station))
        except StationkeeperError as error:
            raise _undone(desk, done, f"line {one.line}: {error}") from error
        done.append(Enlisted(one.station.id, answer.get("password")))
    return done


def _names(station: NewStation) -> list[str]:
    """Return what a certificate of a station may be made out to."""
    return [station.id] if station.serial is None else [station.id, station.serial]


def _check_names(station: NewStation, lines: Mapping[str, int]) -> None:
    """Raise `Invalid` if another line has a station by one of the names of this one."""
    for field, name in zip(("id", "serial"), _names(station), strict=False):
        if name in lines:
            raise Invalid(field, f"{name!r} stands in line {lines[name]} already")


def _taken(station: NewStation, names: Mapping[str, str]) -> str:
    """Say which of a station's names is taken, where *names* are those of stations that are there, with their ids."""
    if names.get(station.id) == station.id:
        return f"id: {station.id!r} is registered already"
    taken = ((field, name) for field, name in zip(("id", "serial"), _names(station), strict=False) if name in names)
    return next((f"{field}: {name!r} names station {names[name]!r} already" for field, name in taken), "")


def _undone(desk: Desk, done: list[Enlisted], why: str) -> Refused:
    left = list(done)
    try:
        while left:
            desk.call("DELETE", f"/chargestations/{quote(left[-1].id, safe='')}")
            left.pop()
    except StationkeeperError:
        names = ", ".join(one.id for one in left)
        return Refused(f"{why}; then these could not be removed again: {names}")
    return Refused(f"{why}; no station of the file is registered")


def _check_header(names: Iterable[str]) -> None:
    if "id" not in names:
        raise Invalid(
            "line 1", f"the first line names the columns, and id is one of them; known are {', '.join(COLUMNS)}"
        )
    for name in names:
        if name not in COLUMNS:
            raise Invalid("line 1", f"{name!r} is no column; {meant(name, COLUMNS, cutoff=0.6)}")


def _station(row: Mapping[str, Any], *, generate: bool) -> NewStation:
    if row.get(""):
        raise Invalid("", "it has more fields than the first line has columns; put those with a comma into quotes")
    text = {key: row.get(key) or "" for key in COLUMNS}
    password = _password(text)
    station = NewStation(
        id=text["id"],
        password=password,
        protocol=text["protocol"] or None,
        security=text["security"] or None,
        name=text["name"],
        site=text["site"],
        liveness=_liveness(text),
        profile=_profile(text["profile"]),
        serial=text["serial"] or None,
        lenient=tuple(text["lenient"].split()),
    )
    if password is None and station.security_type == "basic":
        if not generate:
            raise Invalid("password", "give one, or have one generated for each that has none: --generate")
        return evolve(station, generate=True)
    return station


def _profile(text: str) -> int | None:
    if text and text not in {"1", "2", "3"}:
        raise Invalid("profile", f"{text!r} is unknown; 1 (password), 2 (password over TLS), 3 (client certificate)")
    return int(text) if text else None


def _password(text: Mapping[str, str]) -> str | bytes | None:
    given = [column for column in _PASSWORDS if text[column]]
    if len(given) > 1:
        raise Invalid("password", f"give one of {' and '.join(given)}")
    if not given:
        return None
    column = given[0]
    if column == "password":
        return text[column]
    try:
        key = bytes.fromhex(text[column]) if column == "password_hex" else b64decode(text[column], validate=True)
    except (ValueError, Base64Error):
        raise Invalid(column, "it cannot be read; write the key's bytes as its name says") from None
    if len(key) < SHORTEST_KEY:
        raise Invalid(
            column, f"a key has {SHORTEST_KEY} bytes or more, this one has {len(key)}; a text goes into password"
        )
    return key


def _liveness(text: Mapping[str, str]) -> PingSettings | None:
    given: dict[str, float] = {}
    for key in _LIVENESS:
        if text[key]:
            try:
                plain = text[key].replace(".", "", 1).isdigit()
                given[key] = parse_duration(float(text[key]) if plain else text[key])
            except ValueError as error:
                raise Invalid(key, f"{text[key]!r}: wanted is {error}") from None
    return PingSettings(**given) if given else None


def _body(station: NewStation) -> dict[str, Any]:
    """Return the request that registers a station. Hex digits mean the same as a key's bytes, and survive JSON."""
    password = station.password.hex() if isinstance(station.password, bytes) else station.password
    liveness = station.liveness
    body = {
        "id": station.id,
        "password": password,
        "generate": station.generate or None,
        "protocol": station.protocol,
        "security": station.security,
        "profile": station.profile,
        "serial": station.serial,
        "lenient": list(station.lenient) or None,
        "name": station.name or None,
        "site": station.site or None,
        "liveness": liveness and {key: value for key in _LIVENESS if (value := getattr(liveness, key)) is not None},
    }
    return {key: value for key, value in body.items() if value is not None}


def _raise_all(wrong: Iterable[str]) -> None:
    found = list(wrong)
    if found:
        more = f"\n... and {len(found) - 20} more" if len(found) > 20 else ""
        raise Invalid("", "nothing was changed:\n" + "\n".join(found[:20]) + more)
