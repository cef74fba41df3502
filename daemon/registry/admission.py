"""Who is let in by the daemon: registered stations that prove who they are, and with `--open` anybody else."""

from __future__ import annotations

from typing import Final, Literal, cast

import trio

from ...engine.events import Micros, Validity
from ...projections import registry
from ...transports.admission import Knock, Refusal, Subprotocol, Welcome
from .books import Book
from .credentials import Credentials, Crowded

_BUSY_RETRY: Final = 10.0
"""Seconds, for a station whose password we have no thread to stretch for."""
_CROWDED: Final = "too many passwords wait to be checked; give stations generated keys, which take no time"


class RegistryAdmission:
    """The transports' `admit`, over the registry of a book that is opened later than the transport is made."""

    def __init__(self, *, open: bool = False, security: Literal["basic", "none"] = "basic") -> None:
        self._open = open
        """Whether an id that is not registered is let in without credentials."""
        self._security = security
        self._attached = trio.Event()
        self._book: Book
        self._credentials: Credentials

    def attach(self, book: Book, credentials: Credentials) -> None:
        """Take the registry to look into. Who knocks before that waits."""
        self._book, self._credentials = book, credentials
        self._attached.set()

    async def __call__(self, knock: Knock) -> Welcome | Refusal:
        if not self._attached.is_set():
            await self._attached.wait()
        registered = self._book.state(registry).get(knock.station)
        if registered is None:
            return self._stranger(knock)
        record = registered.record
        security, credential = "none", None
        if self._security != "none" and record.security != "none":
            valid = _valid(record.credentials, self._book.now())
            try:
                security, credential = "basic", await self._matching(valid, knock)
            except Crowded:
                return Refusal(status=503, reason="busy", hint=_CROWDED, retry_after=_BUSY_RETRY)
            if credential is None:
                return self._refuse(knock, valid)
        return Welcome(
            station=knock.station,
            protocol=cast("Subprotocol | None", record.protocol),
            security=security,
            credential=credential,
            liveness=record.liveness,
        )

    def _stranger(self, knock: Knock) -> Welcome | Refusal:
        if self._open:
            return Welcome(station=knock.station)
        hint = f"register it: stationkeeper station add {knock.station}"
        return Refusal(status=404, reason="unknown_station", hint=hint)

    async def _matching(self, valid: list[str], knock: Knock) -> str | None:
        if knock.password is None:
            return None
        for credential in valid:
            if await self._credentials.matches(credential, knock.password):
                return credential
        return None

    def _refuse(self, knock: Knock, valid: list[str]) -> Refusal:
        if self._book.copied:
            hint = "this log is a copy without its secrets, so no password can be checked; serve it with --adopt once"
        elif not valid:
            hint = "no credential of this station is valid now: give it a new password"
        elif knock.password is None and not knock.username_matches:
            hint = "it sent no Basic credentials, or those of another user name: that must be its id"
        else:
            hint = "the password is not the registered one; a 1.6 key may come as bytes or as hex digits"
        return Refusal(status=401, reason="wrong_credentials", hint=hint)


def _valid(credentials: tuple[Validity, ...], now: Micros) -> list[str]:
    return [
        credential.id
        for credential in credentials
        if (credential.not_before is None or credential.not_before <= now)
        and (credential.not_after is None or now < credential.not_after)
    ]
