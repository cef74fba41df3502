"""Security profiles: how a station must prove who it is, and whether it came that way.

    1   Basic credentials over ws://
    2   Basic credentials over wss://
    3   a client certificate over wss://

A station has one of them at a time, and is turned away with any other (security whitepaper, A00.FR.002); those of
several profiles may share a port. Nothing here waits, so that the door and whoever looks at connections that stand
judge by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from ...engine.events import StationRecord
from ...transports.admission import Certificate

Security: TypeAlias = Literal["basic", "mtls", "none"]

_SHOWN: Final = 40
"""Characters that a hint tells of a name that is registered or configured."""


@frozen(kw_only=True)
class Rules:
    """What the configuration asks of stations; their records say the rest."""

    security: Security = "basic"
    organization: str | None = None
    """Whose client certificates are taken (A00.FR.404); none: those of any organization."""
    certificates: bool = True
    """Whether client certificates are asked for at all."""
    tls_in_front: bool = False
    """Whether a proxy in front ends TLS: of a connection that reaches us plain, nobody knows how it began."""

    def demanded(self, record: StationRecord) -> Security:
        """Return how a registered station must prove who it is.

        With `mtls` in the configuration that is by certificate, unless its record names another profile, or none.
        """
        if self.security == "none" or record.security == "none":
            return "none"
        if record.security == "mtls" or record.profile == 3:
            return "mtls"
        return "basic" if record.profile is not None else self.security

    def wrong_profile(
        self, record: StationRecord, *, tls: bool, certified: bool, credentials: bool = True
    ) -> str | None:
        """Return what a technician can do about a station that came with another profile than its own; none if not.

        Args:
            record: its registration.
            tls: it came over TLS that we ended.
            certified: it showed a client certificate.
            credentials: it sent Basic credentials.
        """
        demanded = self.demanded(record)
        if demanded == "none":
            return None
        if demanded == "mtls":
            return None if certified else self._lacks_certificate(tls=tls, credentials=credentials)
        if record.profile == 2 and not tls and not self.tls_in_front:
            return (
                "it came over plain ws:// (profile 1), and is registered for profile 2: give it a wss:// URL, or "
                "register it for profile 1"
            )
        if record.profile == 1 and tls:
            return (
                "it came over wss:// (profile 2), and is registered for profile 1: give it a ws:// URL, or register "
                "it for profile 2"
            )
        if certified and not credentials:
            return (
                "it showed a client certificate and no password (profile 3), and is registered for a password: set "
                "its profile to 2 there, or its security to mtls here"
            )
        return None

    def wrong_certificate(self, station: str, record: StationRecord, certificate: Certificate) -> str | None:
        """Return what is wrong with a client certificate whose chain is in order; none if nothing is.

        What the certificate bears is not told: it may be a person's, and what is told cannot be erased.
        """
        if not bears_own_name(station, record, certificate.names):
            wanted = (
                "its id" if record.serial is None else f"its id or its registered serial ({record.serial[:_SHOWN]!r})"
            )
            if not certificate.names:
                return f"its certificate bears no name; one must be {wanted}"
            case = _differs_in_case(station, record, certificate.names)
            return f"none of its certificate's names is {wanted}{case}: the common name, or a DNS name, must be"
        if self.organization is not None and self.organization not in certificate.organizations:
            which = "is of another organization" if certificate.organizations else "names no organization"
            return (
                f"its certificate {which}; it must be {self.organization[:_SHOWN]!r} "
                "([stations] tls_client_organization)"
            )
        return None

    def _lacks_certificate(self, *, tls: bool, credentials: bool) -> str:
        if not self.certificates:
            return "it must show a client certificate, but none is asked for: set [stations] tls_client_ca"
        if not tls:
            return (
                "it came over plain ws://, and must show a client certificate (profile 3): give it a wss:// URL, or "
                "register it for profile 1"
            )
        sent = "sent a password (profile 2)" if credentials else "showed no client certificate"
        return (
            f"it {sent}, and must show a client certificate (profile 3): install one and set its profile to 3, or "
            "register it for profile 2"
        )


def bears_own_name(station: str, record: StationRecord, names: Sequence[str]) -> bool:
    """Return whether one of a certificate's names is the station's id, or the serial it is registered with."""
    return station in names or (record.serial is not None and record.serial in names)


def _differs_in_case(station: str, record: StationRecord, names: Sequence[str]) -> str:
    own = {name.casefold() for name in (station, record.serial) if name is not None}
    return ", in the same capitals" if any(name.casefold() in own for name in names) else ""
