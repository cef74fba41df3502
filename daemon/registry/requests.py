"""What can be asked of the registrar about stations: new ones, and changes to those that are there.

Each request checks itself, so that the HTTP API, the command line and an import refuse the same things in the same
words. A field of a change that is `KEEP` stays as it is.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from ...engine.events import PingSettings
from ...engine.settings import SHORTEST_WATCH
from ..meant import meant
from .credentials import LONGEST, SHORTEST, Password
from .errors import Invalid


class _Keep(Enum):
    KEEP = "keep"


KEEP: Final = _Keep.KEEP
Keep: TypeAlias = Literal[_Keep.KEEP]

SUBPROTOCOLS: Final = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
SECURITY: Final = ("basic", "mtls", "none")
PROFILES: Final = {1: "basic", 2: "basic", 3: "mtls"}
"""OCPP's security profiles, and the security type of each."""
LENIENT: Final = ("username", "upgrade", "subprotocol", "origin")
"""What a station can be forgiven (`StationRecord.lenient`)."""

_LONGEST_ID: Final = 255
_LONGEST_ID_OF_2: Final = 48
"""OCPP-J 2.0.1 and 2.1, 3.1.1: identifierString, and no colon."""
_LONGEST_TEXT: Final = 255


@frozen(kw_only=True)
class NewStation:
    """A station to be registered."""

    id: str
    password: Password | None = field(default=None, repr=False)
    """Text, which may be a key in hex digits; or a key's bytes."""
    generate: bool = False
    """Draw a key, and hand it out once."""
    protocol: str | None = None
    """The subprotocol to take it for if it offers none."""
    security: str | None = None
    """`basic`; `mtls` for a client certificate; `none` if no credentials are wanted. None: as the profile says, and
    `basic` without one."""
    name: str = ""
    site: str = ""
    liveness: PingSettings | None = None
    """Where it is to be watched otherwise than the gateway's settings say."""
    profile: int | None = None
    """The security profile that it must come with. None: any that fits its security type."""
    serial: str | None = None
    """What the common name of its certificate may be instead of its id."""
    lenient: tuple[str, ...] = ()

    @property
    def security_type(self) -> str:
        """How it must prove who it is."""
        return self.security or (PROFILES.get(self.profile, "basic") if self.profile is not None else "basic")

    def check(self) -> None:
        """Raise `Invalid` where a field cannot be as it is."""
        check_station_id(self.id, self.protocol)
        _check_protocol(self.protocol)
        _check_security(self.security)
        check_texts(name=self.name, site=self.site)
        check_liveness(self.liveness)
        check_profile(self.profile, self.security_type)
        _check_serial(self.serial)
        check_lenient(self.lenient, self.protocol)
        if self.password is not None and self.generate:
            raise Invalid("password", "give one, or have one generated, not both")
        check_given(self.security_type, given=self.password is not None or self.generate)
        if self.password is not None:
            check_password(self.password)


@frozen(kw_only=True)
class StationChanges:
    """Changes to a registered station."""

    password: Password | Keep = field(default=KEEP, repr=False)
    generate: bool = False
    overlap: float = 0.0
    """Seconds for which the password before stays good beside a new one. 0: it ends at once, and its connection too."""
    protocol: str | Keep | None = KEEP
    security: str | Keep = KEEP
    name: str | Keep = KEEP
    site: str | Keep = KEEP
    liveness: PingSettings | Keep | None = KEEP
    profile: int | Keep | None = KEEP
    serial: str | Keep | None = KEEP
    lenient: tuple[str, ...] | Keep = KEEP

    def check(self, id: str) -> None:
        """Raise `Invalid` where a field cannot be as it is."""
        if isinstance(self.protocol, str):
            _check_protocol(self.protocol)
            check_station_id(id, self.protocol)
        if self.security is not KEEP:
            _check_security(self.security)
        check_texts(name="" if self.name is KEEP else self.name, site="" if self.site is KEEP else self.site)
        if self.liveness is not KEEP:
            check_liveness(self.liveness)
        if self.serial is not KEEP:
            _check_serial(self.serial)
        if self.password is not KEEP:
            if self.generate:
                raise Invalid("password", "give one, or have one generated, not both")
            check_password(self.password)
        if self.overlap < 0:
            raise Invalid("overlap", f"{self.overlap:g} is wrong; seconds, 0 or more")
        if self.overlap and self.password is KEEP and not self.generate:
            raise Invalid("overlap", "it goes with a new password: give one, or have one generated")


def check_station_id(id: str, protocol: str | None = None) -> None:
    """Raise `Invalid` if a station cannot have this id, which stands in a URL and in Basic credentials."""
    if not id or len(id.encode(errors="replace")) > _LONGEST_ID:
        raise Invalid("id", f"{id[:40]!r} has {len(id)} characters; 1 to {_LONGEST_ID} bytes are allowed")
    if not id.isprintable() or id != id.strip():
        raise Invalid("id", f"{id!r} has characters that cannot be seen; printable ones, no space at the ends")
    if protocol is not None and protocol.startswith("ocpp2"):
        if ":" in id:
            raise Invalid("id", f"{id!r} has a colon, which {protocol} forbids (OCPP-J 2.x, 3.1.1)")
        if len(id) > _LONGEST_ID_OF_2:
            raise Invalid("id", f"{id!r} has {len(id)} characters; {protocol} allows {_LONGEST_ID_OF_2}")


def check_password(password: Password) -> None:
    """Raise `Invalid` if a password is too short or too long, or no text that has bytes; nothing of it is shown."""
    try:
        size = len(password if isinstance(password, bytes) else password.encode())
    except UnicodeEncodeError:
        raise Invalid("password", "it has half a character in it (a lone surrogate); wanted is text in UTF-8") from None
    if not SHORTEST <= size <= LONGEST:
        raise Invalid(
            "password", f"it has {size} bytes; {SHORTEST} to {LONGEST} are allowed, and OCPP asks for 16 to 40"
        )


def check_liveness(liveness: PingSettings | None) -> None:
    """Raise `Invalid` where a station cannot be watched so."""
    if liveness is None:
        return
    interval = liveness.ping_interval
    if interval is not None and interval != 0 and interval < SHORTEST_WATCH:
        raise Invalid(
            "liveness.ping_interval", f"{interval:g} is wrong; {SHORTEST_WATCH:g} second or more, or 0 to never ping"
        )
    for name in ("ping_timeout", "silence"):
        value = getattr(liveness, name)
        if value is not None and value < SHORTEST_WATCH:
            raise Invalid(f"liveness.{name}", f"{value:g} is wrong; {SHORTEST_WATCH:g} second or more")


def _check_protocol(protocol: str | None) -> None:
    if protocol is not None and protocol not in SUBPROTOCOLS:
        raise Invalid("protocol", f"{protocol!r} is unknown; {', '.join(SUBPROTOCOLS)}")


def _check_security(security: str | None) -> None:
    if security is not None and security not in SECURITY:
        raise Invalid("security", f"{security!r} is unknown; {', '.join(SECURITY[:-1])} or {SECURITY[-1]}")


def check_profile(profile: int | None, security: str) -> None:
    """Raise `Invalid` if there is no such profile, or if it does not go with how a station proves who it is."""
    if profile is None:
        return
    if isinstance(profile, bool) or profile not in PROFILES:
        raise Invalid("profile", f"{profile!r} is unknown; 1 (password), 2 (password over TLS), 3 (client certificate)")
    if PROFILES[profile] != security:
        raise Invalid("profile", f"{profile} goes with security {PROFILES[profile]}, not with {security}")


def check_given(security: str, *, given: bool) -> None:
    """Raise `Invalid` if a password is given where none is asked for, or none where one is."""
    if security == "none" and given:
        raise Invalid("security", "with none no password is asked for: leave the password out, or use basic")
    if security == "mtls" and given:
        raise Invalid("security", "with mtls a client certificate takes the password's place: leave one of them out")
    if security == "basic" and not given:
        raise Invalid(
            "password",
            "give one, or have one generated; or set security to mtls to ask for a client certificate, or to none to "
            "ask for nothing",
        )


def check_lenient(lenient: tuple[str, ...], protocol: str | None) -> None:
    """Raise `Invalid` if something cannot be forgiven."""
    for allowance in lenient:
        if allowance not in LENIENT:
            raise Invalid("lenient", f"{allowance!r} is unknown; {meant(str(allowance), LENIENT)}")
    if len(set(lenient)) < len(lenient):
        raise Invalid("lenient", "name each once")
    if "subprotocol" in lenient and protocol is None:
        raise Invalid("lenient", "subprotocol takes the station for its protocol: give that, too")


def _check_serial(serial: str | None) -> None:
    if serial is not None and not (serial and serial == serial.strip()):
        raise Invalid("serial", "it is empty, or has white space around it; leave it out where there is none")
    check_texts(serial=serial or "")


def check_texts(**texts: str) -> None:
    """Raise `Invalid` if a text for people is too long, or holds what cannot be seen."""
    for name, text in texts.items():
        if len(text) > _LONGEST_TEXT or not text.isprintable():
            raise Invalid(name, f"up to {_LONGEST_TEXT} printable characters are allowed")
