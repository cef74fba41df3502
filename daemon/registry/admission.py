"""Who is let in by the daemon: registered stations that prove who they are, and with `--open` anybody else."""

from __future__ import annotations

from functools import partial
from typing import Final, cast

import trio

from ...engine.events import Micros, StationRecord, Validity
from ...engine.stations import Hint
from ...projections import registry
from ...transports.admission import Knock, Refusal, Subprotocol, Welcome
from .books import Book
from .checking import PATIENCE, Checked, Checking
from .credentials import Credentials, Crowded
from .nearest import hint as nearest_hint
from .profiles import Rules

_BUSY_RETRY: Final = 10.0
"""Seconds, for a station whose password we have no thread to stretch for."""
_CROWDED: Final = "too many passwords wait to be checked; give stations generated keys, which take no time"
_TOO_OFTEN: Final = "too many wrong passwords came for this station of late; a generated key would be let in at once"
_NO_CREDENTIALS: Final = "it sent no Basic credentials: its user name must be its id, with its password"
_COPIED: Final = "this log is a copy without its secrets, so no password can be checked; serve it with --adopt once"
_NONE_VALID: Final = "no credential of this station is valid now: give it a new password"


class RegistryAdmission:
    """The transports' `admit`, over the registry of a book that is opened later than the transport is made."""

    def __init__(self, *, open: bool = False, rules: Rules | None = None, patience: float = PATIENCE) -> None:
        """
        Args:
            open: an id that is not registered is let in without credentials.
            rules: what the configuration asks of those that are registered.
            patience: seconds that a password may wait to be checked; half of the time for a handshake.
        """
        self._open = open
        self._rules = rules or Rules()
        self._patience = patience
        self._attached = trio.Event()
        self._book: Book
        self._credentials: Credentials
        self._checking: Checking

    def attach(self, book: Book, credentials: Credentials) -> None:
        """Take the registry to look into. Who knocks before that waits."""
        self._book, self._credentials = book, credentials
        self._checking = Checking(credentials, patience=self._patience)
        self._attached.set()

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        if not self._attached.is_set():
            await self._attached.wait()
        answer = self.at_once(knock)
        return answer if answer is not None else await self._stretched(knock)

    def at_once(self, knock: Knock) -> Welcome | Refusal | None:
        """Decide without waiting; None: a password has to be stretched, or the registry is not there yet."""
        if not self._attached.is_set():
            return None
        registered = self._book.state(registry).registered(knock.station)
        if registered is None:
            return self._stranger(knock)
        record = registered.record
        demanded = self._rules.demanded(record)
        refusal = self._wrong_profile(knock, record)
        if refusal is not None:
            return refusal
        if demanded == "basic":
            return self._basic(knock, record)
        return _welcome(knock, record, demanded)

    def _stranger(self, knock: Knock) -> Welcome | Refusal:
        if self._open:
            return Welcome(station=knock.station)
        hint = partial(_how_to_know, self._book, knock.station)
        return Refusal(status=404, reason="unknown_station", hint=hint)

    def _wrong_profile(self, knock: Knock, record: StationRecord) -> Refusal | None:
        certificate = knock.certificate
        hint = self._rules.wrong_profile(
            record,
            tls=knock.tls is not None,
            certified=certificate is not None,
            credentials=knock.username is not None or knock.password is not None,
        )
        if hint is not None:
            return Refusal(status=403, reason="wrong_profile", hint=hint)
        if certificate is None or self._rules.demanded(record) != "mtls":
            return None
        hint = self._rules.wrong_certificate(knock.station, record, certificate)
        return None if hint is None else Refusal(status=403, reason="wrong_certificate", hint=hint)

    def _basic(self, knock: Knock, record: StationRecord) -> Welcome | Refusal | None:
        if knock.password is None:
            return Refusal(status=401, reason="no_credentials", hint=_NO_CREDENTIALS)
        valid = valid_credentials(record, self._book.now())
        if not knock.username_matches and "username" not in record.lenient:
            return _wrong(partial(self._why_wrong_name, knock, record, valid, knock.password))
        if self._book.copied or not valid:
            return _wrong(_COPIED if self._book.copied else _NONE_VALID)
        checked = self._checking.at_once(knock.station, valid, knock.password)
        return None if checked is None else self._answer(knock, record, checked)

    async def _stretched(self, knock: Knock) -> Welcome | Refusal:
        record, password = self._book.state(registry)[knock.station].record, knock.password
        assert password is not None
        valid = valid_credentials(record, self._book.now())
        try:
            checked = await self._checking.wait(knock.station, valid, password, knock.remote)
        except Crowded:
            return Refusal(status=503, reason="busy", hint=_CROWDED, retry_after=_BUSY_RETRY)
        return self._answer(knock, record, checked)

    def _answer(self, knock: Knock, record: StationRecord, checked: Checked) -> Welcome | Refusal:
        if checked.credential is not None:
            return _welcome(knock, record, "basic", checked.credential)
        if checked.too_often is not None:
            return Refusal(status=429, reason="too_often", hint=_TOO_OFTEN, retry_after=checked.too_often)
        assert knock.password is not None
        return _wrong(partial(self._why_wrong, record, knock.password), delay=checked.delay)

    def _why_wrong(self, record: StationRecord, password: bytes) -> str:
        valid = valid_credentials(record, self._book.now())
        if any(self._credentials.known(one.id, password) for one in record.credentials if one.id not in valid):
            return "the password is an old one, whose time is over: give the station its new one"
        likeness = self._credentials.likeness(valid, password)
        if likeness:
            return f"the password is nearly the registered one: {likeness}"
        if not password:
            return "the password is empty; did the station lose its configuration?"
        return "the password is not the registered one; a 1.6 key may come as bytes or as hex digits"

    def _why_wrong_name(self, knock: Knock, record: StationRecord, valid: list[str], password: bytes) -> str:
        # The name itself is not repeated: some put a password there, and a hint is for everybody to read.
        sent = (knock.username or b"").decode("utf-8", "replace")
        if not sent:
            how = "is empty"
        elif sent.strip(" \t\r\n\0'\"") == knock.station:
            how = "is its id with white space or quotation marks around it"
        elif sent.casefold() == knock.station.casefold():
            how = "is its id in other capitals"
        elif sent == record.serial:
            how = "is its serial number"
        else:
            how = "is another"
        right = any(self._credentials.known(id, password) for id in valid)
        beside = "; the password is right" if right else ""
        return f"the user name {how}{beside}: it must be its id, or be forgiven (station update --lenient username)"


def valid_credentials(record: StationRecord, now: Micros) -> list[str]:
    """Return the ids of the credentials that are good now, the newest first."""
    return [credential.id for credential in record.credentials if is_valid(credential, now)]


def is_valid(credential: Validity, now: Micros) -> bool:
    """Return whether a credential is good now."""
    begun = credential.not_before is None or credential.not_before <= now
    return begun and (credential.not_after is None or now < credential.not_after)


def _welcome(knock: Knock, record: StationRecord, security: str, credential: str | None = None) -> Welcome:
    return Welcome(
        station=knock.station,
        protocol=cast("Subprotocol | None", record.protocol),
        security=security,
        credential=credential,
        liveness=record.liveness,
        lenient=record.lenient,
    )


def _wrong(hint: Hint, *, delay: float = 0.0) -> Refusal:
    return Refusal(status=401, reason="wrong_credentials", hint=hint, delay=delay)


def _how_to_know(book: Book, station: str) -> str:
    """Say what to do about a station that is not registered; asked only if the refusal is told."""
    known = book.state(registry)
    return nearest_hint(station, known, removed=station in known.removed)
