"""Where settings come from: the file, over it the environment, over both the flags.

Each key is read on its own, so that an error names the key, where it stood, the value, and what would be right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, cast, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen
from cattrs import Converter
from cattrs.errors import BaseValidationError

from ...engine.errors import WrongSetting
from ..meant import meant
from .config import LATER, SECTIONS, Config, GatewaySection, StationsSection
from .units import Address, Duration, Rate, parse_address, parse_duration, write_duration
from .webhooks import WebhookSection, WebhooksSection

DEFAULT_FILE: Final = Path("stationkeeper.toml")
PREFIX: Final = "STATIONKEEPER_"

_NOT_SETTINGS: Final = frozenset(
    {"STATIONKEEPER_URL", "STATIONKEEPER_TOKEN", "STATIONKEEPER_CONFIG", "STATIONKEEPER_SECRETS_KEY"}
)
"""What the command line reads by itself."""
_INJECTED: Final = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)")
"""What Kubernetes puts into every pod beside a Service named `stationkeeper`: not ours, and no mistake of anyone's."""

Key = tuple[str, str]


@frozen
class Given:
    """A value as somebody wrote it."""

    value: object
    source: str
    """In words: `file ...`, `environment ...`, `flag ...`."""


@frozen(kw_only=True)
class Effective:
    """The configuration in force, and where each key that is not a default was set."""

    config: Config
    sources: Mapping[Key, str]


def load(
    file: Path | None = None, *, environ: Mapping[str, str] | None = None, flags: Mapping[Key, Given] | None = None
) -> Effective:
    """Read the configuration. Without *file*, `stationkeeper.toml` in the working folder is read if it is there.

    Raises:
        WrongSetting: a key or a value cannot be used; the message says which, and what would be right.
    """
    given, webhooks = _from_file(file)
    given |= _from_environment(environ or {})
    given |= flags or {}
    sections = {
        name: cls(
            **{key: _value(f"[{name}]", key, cls, given[name, key]) for key in _keys(cls) if (name, key) in given}
        )
        for name, cls in SECTIONS.items()
    }  # fmt: skip
    config = Config(**sections, webhook=webhooks)
    _check_together(config)
    _check_proxies(config.stations, given.get(("stations", "trusted_proxies")))
    return Effective(config=config, sources={key: value.source for key, value in given.items()})


def _keys(cls: type[Any]) -> list[str]:
    return [attribute.name for attribute in attrs.fields(cls)]


# --- the file --------------------------------------------------------------------------------------------------------


def _from_file(file: Path | None) -> tuple[dict[Key, Given], tuple[WebhookSection, ...]]:
    path = file or DEFAULT_FILE
    try:
        with path.open("rb") as stream:
            tables = tomllib.load(stream)
    except FileNotFoundError:
        if file is None:
            return {}, ()
        raise WrongSetting(f"--config {file}: there is no such file") from None
    except OSError as error:
        raise WrongSetting(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSetting(f"{path} is not TOML: {error}") from error
    source = f"file {path}"
    webhooks = tables.pop("webhook", [])
    given: dict[Key, Given] = {}
    for name, table in tables.items():
        if name not in SECTIONS:
            raise WrongSetting(f"[{name}] (in {source}) is no section; {meant(name.lower(), [*SECTIONS, 'webhook'])}")
        if not isinstance(table, dict):
            raise WrongSetting(f"{name} (in {source}) is a section: write [{name}], and its keys below")
        for key, value in cast("dict[str, object]", table).items():
            _refuse_unknown(name, key, SECTIONS[name], source)
            given[name, key] = Given(value, source)
    return given, _webhooks(webhooks, source)


def _webhooks(tables: object, source: str) -> tuple[WebhookSection, ...]:
    given = cast("list[object]", tables)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in given):
        raise WrongSetting(f"webhook (in {source}) stands once for each subscription: write [[webhook]]")
    webhooks = tuple(_webhook(cast("dict[str, object]", table), source) for table in given)
    names = [webhook.name for webhook in webhooks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WrongSetting(f"[[webhook]] name = {twice!r} (in {source}) stands twice; give each its own name")
    return webhooks


def _webhook(table: dict[str, object], source: str) -> WebhookSection:
    for key in table:
        _refuse_unknown("webhook", key, WebhookSection, source)
    for key in ("name", "url"):
        if key not in table:
            raise WrongSetting(f"[[webhook]] {table.get('name', '')!r} (in {source}) lacks {key}")
    webhook = WebhookSection(
        **{
            key: _value(f"[[webhook]] {table['name']!r}", key, WebhookSection, Given(value, source))
            for key, value in table.items()
        }
    )
    if (webhook.secret_file is None) == ("v1" in webhook.signatures):
        wrong = (
            'lacks secret_file: v1 signs with a secret, e.g. secret_file = "billing.secret", which is made if it is '
            "not there"
            if webhook.secret_file is None
            else 'has a secret_file, with which v1 alone signs: leave it out, or add "v1" to signatures'
        )
        raise WrongSetting(f"[[webhook]] {webhook.name!r} (in {source}) {wrong}")
    return webhook


def _refuse_unknown(section: str, key: str, cls: type[Any], source: str) -> None:
    if (section, key) in LATER:
        raise WrongSetting(f"[{section}] {key} (in {source}): {LATER[section, key]}")
    if key in _keys(cls):
        return
    elsewhere = [name for name, other in SECTIONS.items() if key in _keys(other)]
    hint = f"; it belongs into [{elsewhere[0]}]" if elsewhere else f"; {meant(key.lower(), _keys(cls))}"
    raise WrongSetting(f"[{section}] {key} (in {source}) is no setting{hint}")


# --- the environment -------------------------------------------------------------------------------------------------


def _from_environment(environ: Mapping[str, str]) -> dict[Key, Given]:
    given: dict[Key, Given] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS or _INJECTED.fullmatch(variable):
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        source = f"environment {variable}"
        if section not in SECTIONS:
            known = [PREFIX + name.upper() for name in SECTIONS]
            raise WrongSetting(f"{variable} (in the environment) names no section; sections are {', '.join(known)}")
        _refuse_unknown(section, key, SECTIONS[section], source)
        given[section, key] = Given(_typed(text, _type(SECTIONS[section], key)), source)
    return given


def _typed(text: str, wanted: object) -> object:
    """Return what a variable's text means where text is not wanted: numbers, true, false and lists as TOML has them."""
    if wanted in (str, str | None):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# --- values ----------------------------------------------------------------------------------------------------------


def _type(cls: type[Any], key: str) -> Any:
    return get_type_hints(cls)[key]


def _value(section: str, key: str, cls: type[Any], given: Given) -> Any:
    metadata = attrs.fields_dict(cls)[key].metadata
    show = metadata.get("show") if isinstance(given.value, str) else None
    said = _shown(show(given.value) if show else given.value)
    place = f"{section} {key} = {said} (in {given.source})"
    try:
        value = _converter.structure(given.value, _type(cls, key))
    except (ValueError, TypeError, BaseValidationError) as error:
        raise WrongSetting(f"{place}: wanted is {_first_reason(error)}") from None
    check = metadata["check"]
    right = check(value) if check else None
    if right is not None:
        raise WrongSetting(f"{place}: wanted is {right}")
    return value


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _first_reason(error: BaseException) -> str:
    if isinstance(error, BaseValidationError):
        return _first_reason(error.exceptions[0])
    return str(error)


def _exactly(wanted: type, words: str) -> Any:
    def structure(value: object, _: object) -> object:
        if type(value) is not wanted:
            raise ValueError(words)
        return value

    return structure


def _path(value: object, _: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path")
    return Path(value).expanduser()


def _optional_path(value: object, _: object) -> Path | None:
    return None if value is None or value == "" else _path(value, None)


def _optional_address(value: object, _: object) -> Address | None:
    return None if value is None or value == "" else parse_address(value)


def _optional_text(value: object, _: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("text in quotes")
    return value or None


def _one_of(value: object, wanted: Any) -> object:
    allowed = get_args(wanted)
    if value not in allowed:
        raise ValueError(" or ".join(f'"{word}"' for word in allowed))
    return value


def _tuple(value: object, wanted: Any) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list, e.g. [...]")
    return tuple(_converter.structure(item, get_args(wanted)[0]) for item in cast("list[object]", value))


def _table(value: object, wanted: Any) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError('a table, e.g. { Authorization = "receiver.token" }')
    items = cast("dict[str, object]", value).items()
    return {key: _converter.structure(item, get_args(wanted)[1]) for key, item in items}


def _optional_number(value: object, wanted: Any) -> object:
    if value is None or value == "":
        return None
    if get_args(wanted)[0] is int:
        return _converter.structure(value, int)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number")
    return float(value)


def _optional_list(value: object, wanted: Any) -> object:
    return None if value is None or value == "" else _tuple(value, get_args(wanted)[0])


def _origin(wanted: Any) -> object:
    return get_origin(wanted)


def _takes(arguments: tuple[object, ...], wanted: Any) -> bool:
    return get_args(wanted) == arguments


def _make_converter() -> Converter:
    converter = Converter()
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    converter.register_structure_hook(int, _exactly(int, "a whole number"))
    converter.register_structure_hook(str, _exactly(str, "text in quotes"))
    converter.register_structure_hook(Duration, lambda value, _: parse_duration(value))
    converter.register_structure_hook(Address, lambda value, _: parse_address(value))
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook_func(lambda wanted: get_args(wanted) == (Path, NoneType), _optional_path)
    converter.register_structure_hook_func(lambda wanted: get_args(wanted) == (str, NoneType), _optional_text)
    converter.register_structure_hook_func(lambda wanted: get_args(wanted) == (Address, NoneType), _optional_address)
    for number in (int, Rate):
        optional = (number, NoneType)
        converter.register_structure_hook_func(partial(_takes, optional), _optional_number)
    converter.register_structure_hook_func(partial(_takes, (tuple[int, ...], NoneType)), _optional_list)
    converter.register_structure_hook_func(lambda wanted: _origin(wanted) is dict, _table)
    converter.register_structure_hook_func(lambda wanted: _origin(wanted) is Literal, _one_of)
    converter.register_structure_hook_func(lambda wanted: _origin(wanted) is tuple, _tuple)
    return converter


_converter: Final = _make_converter()


def _check_together(config: Config) -> None:
    """Refuse what is right alone and wrong together."""
    stations, http = config.stations, config.http
    _check_pair(stations, "tls_certificate", "tls_key")
    _check_pair(stations, "tls_certificate_rsa", "tls_key_rsa")
    for key in ("tls_listen", "tls_certificate_rsa", "tls_client_ca"):
        if getattr(stations, key) is not None and stations.tls_certificate is None:
            raise WrongSetting(f"[stations] {key} takes TLS: set tls_certificate and tls_key, too")
    if stations.tls_client_ca is None:
        if stations.security == "mtls" and not stations.proxy_protocol:
            raise WrongSetting(
                '[stations] security = "mtls" takes tls_client_ca: who vouches for client certificates; or '
                "proxy_protocol, for a proxy in front that checks them"
            )
        if stations.tls_client_organization is not None:
            raise WrongSetting("[stations] tls_client_organization takes tls_client_ca, too")
    _check_times(config.gateway)
    _check_timeouts(config.webhooks)
    places = {"[stations] listen": stations.listen, "[stations] tls_listen": stations.tls_listen}
    _check_places({**places, "[http] listen": http.listen})


def _check_proxies(stations: StationsSection, given: Given | None) -> None:
    # A file that `stationkeeper config` printed names the default, too.
    if given and not stations.proxy_protocol and stations.trusted_proxies != StationsSection().trusted_proxies:
        raise WrongSetting(
            f"[stations] trusted_proxies (in {given.source}) does nothing without the PROXY protocol: set "
            "proxy_protocol = true if the proxy sends its header, or leave trusted_proxies out"
        )


def _check_times(gateway: GatewaySection) -> None:
    if gateway.drain and gateway.drain > gateway.shutdown_timeout - 1:
        raise WrongSetting(
            f"[gateway] drain = {write_duration(gateway.drain)} is a part of shutdown_timeout = "
            f"{write_duration(gateway.shutdown_timeout)}: make it at least a second shorter"
        )


def _check_timeouts(webhooks: WebhooksSection) -> None:
    whole, default = webhooks.timeout, WebhooksSection()
    for key in ("connect_timeout", "tls_timeout", "write_timeout", "answer_timeout"):
        part: Duration = getattr(webhooks, key)
        # One that nobody set ends with the whole.
        if part > whole and part != getattr(default, key):
            raise WrongSetting(
                f"[webhooks] {key} = {write_duration(part)} is a part of timeout = {write_duration(whole)}: it cannot "
                "be longer; raise timeout, or lower it"
            )


def _check_pair(stations: StationsSection, certificate: str, key: str) -> None:
    if (getattr(stations, certificate) is None) != (getattr(stations, key) is None):
        lacking = key if getattr(stations, key) is None else certificate
        raise WrongSetting(f"[stations] {lacking} is missing: TLS takes {certificate} and {key} together")


def _check_places(places: Mapping[str, Address | None]) -> None:
    for (one, address), (other, same) in combinations(places.items(), 2):
        if address is not None and address == same and address.port:
            raise WrongSetting(f"{one} and {other} are both {address}: give each a port of its own")
