"""Enrolment: stations are registered, changed and removed.

A password is kept, durably, before the event that names its id is recorded; so what a crash between the two leaves
behind is a digest that nothing names, and `Registrar.sweep` forgets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import trio
from attrs import asdict, evolve, field, frozen

from ...engine.events import StationRecord, StationRegistered, StationRemoved, StationUpdated, Validity
from ...engine.names import new_id
from ...projections import registry
from .books import Book
from .credentials import Credentials, Password, draw_key
from .errors import AlreadyThere, Invalid, NotFound, SecretsMissing
from .profiles import Rules
from .requests import KEEP, PROFILES, NewStation, StationChanges, check_given, check_lenient, check_profile

CREDENTIAL_PREFIX: Final = "cred_"


@frozen(kw_only=True)
class Credited:
    """What came of registering a station or of changing its password."""

    id: str
    password: str | None = field(repr=False)
    """A generated key in hex digits, which nobody can read again; none if none was generated."""
    position: int
    """Of the event."""


class Enrolment:
    """Stations: who they are, and how they prove it. One change at a time."""

    _book: Book
    _turn: trio.Lock
    _rules: Rules
    _by_serial: dict[str, str] | None = None
    """Serial -> id of a station that has or had it; made when it is first asked for. A walk over 50 000 registrations
    takes some 10 ms, which an import of as many cannot pay each time."""
    credentials: Credentials

    async def register(self, station: NewStation, *, actor: str) -> Credited:
        """Register a station, and return its generated key, if one was asked for; durable on return.

        Raises:
            Invalid: a field cannot be as it is.
            AlreadyThere: the id is registered.
            SecretsMissing: a password was given or asked for, and the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        station.check()
        async with self._turn:
            if station.id in self._book.state(registry):
                raise AlreadyThere(f"station {station.id!r} is registered already; update it instead")
            self._check_name("id", station.id, station.id)
            self._check_name("serial", station.serial, station.id)
            password, shown = _password(station.password, station.generate)
            terms = StationRecord(security=station.security_type, profile=station.profile)
            self._check_taken(terms, given=password is not None)
            event = StationRegistered(
                protocol=station.protocol,
                security=station.security_type,
                credentials=() if password is None else (await self._new_credential(password),),
                liveness=station.liveness,
                name=station.name,
                site=station.site,
                profile=station.profile,
                serial=station.serial,
                lenient=station.lenient,
            )
            position = await self._book.record(event, subject=station.id, actor=actor)
            self._note_serial(station.id, event)
        return Credited(id=station.id, password=shown, position=position)

    async def update(self, id: str, changes: StationChanges, *, actor: str) -> Credited:
        """Change a station, and return its new generated key, if one was asked for; durable on return. Of a change
        that changes nothing nothing is recorded: the position is then that of the newest event.

        With a new password the one before ends, and with it the connection that used it, unless an overlap was asked
        for: then it ends once the station has come in with the new one (`settle_on`), and with the overlap at the
        latest. At most two are good at a time.

        Raises:
            NotFound: the station is not registered.
            Invalid: a field cannot be as it is.
            SecretsMissing: a password was given or asked for, and the log is a copy without its secrets.
            LogUnavailable: the log cannot be written now.
        """
        changes.check(id)
        async with self._turn:
            before = self.station_record(id)
            if changes.serial is not KEEP and changes.serial != before.serial:
                self._check_name("serial", changes.serial, id)
            password, shown = _password(None if changes.password is KEEP else changes.password, changes.generate)
            after = _changed(before, changes, given=password is not None)
            self._check_taken(after, given=password is not None)
            credentials = before.credentials if after.security == "basic" else ()
            if password is not None:
                credentials = (await self._new_credential(password), *self._outgoing(credentials, changes.overlap))
            fields: dict[str, Any] = {**asdict(after, recurse=False), "credentials": credentials}
            if fields == asdict(before, recurse=False):
                return Credited(id=id, password=None, position=self._book.position)
            event = StationUpdated(**fields)
            position = await self._book.record(event, subject=id, actor=actor)
            self._note_serial(id, event)
            await self._forget(before, named=event)
        return Credited(id=id, password=shown, position=position)

    async def settle_on(self, id: str, credential: str, *, actor: str) -> int | None:
        """End the credentials beside a station's newest one, if that is the one given: it has come in with it.

        Return the event's position; none if there was nothing to end.

        Raises:
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            registered = self._book.state(registry).get(id)
            before = None if registered is None else registered.record
            if before is None or len(before.credentials) < 2 or before.credentials[0].id != credential:
                return None
            fields: dict[str, Any] = {**asdict(before, recurse=False), "credentials": before.credentials[:1]}
            event = StationUpdated(**fields)
            position = await self._book.record(event, subject=id, actor=actor)
            await self._forget(before, named=event)
        return position

    async def remove(self, id: str, *, actor: str) -> int:
        """Remove a station, and forget its passwords; its connection is dropped. Return the event's position.

        Raises:
            NotFound: the station is not registered.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            before = self.station_record(id)
            position = await self._book.record(StationRemoved(), subject=id, actor=actor)
            await self._forget(before)
        return position

    def station_record(self, id: str) -> StationRecord:
        """Return what is registered of a station.

        Raises:
            NotFound: it is not registered.
        """
        registered = self._book.state(registry).get(id)
        if registered is None:
            raise NotFound(f"there is no station {id!r}")
        return registered.record

    def credentials_named(self) -> set[str]:
        """Return the ids of all credentials that a station has."""
        return {
            credential.id
            for registered in self._book.state(registry).values()
            for credential in registered.record.credentials
        }

    def _check_name(self, field: str, name: str | None, id: str) -> None:
        """Raise `Invalid` if a certificate with this name would be good for another station than *id*."""
        if name is None:
            return
        stations = self._book.state(registry)
        if name != id and name in stations:
            raise Invalid(field, f"{name!r} is the id of another station, whose certificate would be good for both")
        if self._by_serial is None:
            self._by_serial = {one.record.serial: it for it, one in stations.items() if one.record.serial}
        other = self._by_serial.get(name, id)
        registered = stations.registered(other)
        if other != id and registered is not None and registered.record.serial == name:
            raise Invalid(field, f"{name!r} is the serial of station {other!r}: its certificate would be good for both")

    def _note_serial(self, id: str, record: StationRecord) -> None:
        if self._by_serial is not None and record.serial is not None:
            self._by_serial[record.serial] = id

    def _check_taken(self, record: StationRecord, *, given: bool) -> None:
        """Raise `Invalid` if a password is given that nobody would ever ask for."""
        if given and self._rules.demanded(record) == "mtls":
            raise Invalid(
                "password",
                'with [stations] security = "mtls" it is taken only from stations of profile 1 or 2: name that '
                "profile, too, or leave the password out and set security to mtls",
            )

    async def _new_credential(self, password: Password) -> Validity:
        if self._book.copied:
            raise SecretsMissing
        id = CREDENTIAL_PREFIX + new_id(self._book.now())
        await self.credentials.keep(id, password)
        return Validity(id=id)

    def _outgoing(self, credentials: Sequence[Validity], overlap: float) -> tuple[Validity, ...]:
        """Return the newest credential before, with the time at which it ends; nothing if that is now."""
        if not overlap or not credentials:
            return ()
        until = self._book.now() + round(overlap * 1_000_000)
        newest = credentials[0]
        ends = until if newest.not_after is None else min(until, newest.not_after)
        return (evolve(newest, not_after=ends),)

    async def _forget(self, before: StationRecord, *, named: StationRecord | None = None) -> None:
        kept = {credential.id for credential in named.credentials} if named else set[str]()
        await self.credentials.forget(credential.id for credential in before.credentials if credential.id not in kept)


def _password(given: Password | None, generate: bool) -> tuple[Password | None, str | None]:
    """Return the password to keep, and what to show of it."""
    if not generate:
        return given, None
    key = draw_key()
    return key, key.hex()


def _changed(before: StationRecord, changes: StationChanges, *, given: bool) -> StationRecord:
    """Return a record as it is after a change, but for its credentials."""
    security = _security(before, changes, given=given)
    fits = before.profile is None or PROFILES[before.profile] == security
    after = StationRecord(
        protocol=before.protocol if changes.protocol is KEEP else changes.protocol,
        security=security,
        liveness=before.liveness if changes.liveness is KEEP else changes.liveness,
        name=before.name if changes.name is KEEP else changes.name,
        site=before.site if changes.site is KEEP else changes.site,
        profile=(before.profile if fits else None) if changes.profile is KEEP else changes.profile,
        serial=before.serial if changes.serial is KEEP else changes.serial,
        lenient=before.lenient if changes.lenient is KEEP else changes.lenient,
    )
    check_profile(after.profile, security)
    check_lenient(after.lenient, after.protocol)
    return after


def _security(before: StationRecord, changes: StationChanges, *, given: bool) -> str:
    """Return the security type after a change; a new password alone turns it on, and so does a profile."""
    if changes.security is not KEEP:
        security = changes.security
    elif given:
        security = "basic"
    elif changes.profile is not KEEP and changes.profile is not None:
        security = PROFILES.get(changes.profile, before.security)
    else:
        return before.security
    check_given(security, given=given or (security == "basic" and bool(before.credentials)))
    return security
