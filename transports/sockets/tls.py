"""TLS on a station's socket: where the context comes from, and what a client certificate says."""

from __future__ import annotations

import ssl
from typing import Any, Protocol, TypeAlias

from ..admission import Certificate


class TlsSource(Protocol):
    """A context that may be another one at the next handshake: certificates are changed while stations stay."""

    @property
    def context(self) -> ssl.SSLContext:
        """The context for a handshake that begins now."""
        ...


Tls: TypeAlias = ssl.SSLContext | TlsSource


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return the context for a handshake that begins now."""
    return tls if isinstance(tls, ssl.SSLContext) else tls.context


def certificate_of(sock: ssl.SSLSocket) -> Certificate | None:
    """Return the client certificate, if one was asked for and verified."""
    found: Any = sock.getpeercert()
    if not found:
        return None
    subject = [pair for part in found.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    others = [value for key, value in found.get("subjectAltName", ()) if key == "DNS"]
    return Certificate(
        serial=found["serialNumber"],
        names=(*names, *others),
        organizations=tuple(value for key, value in subject if key == "organizationName"),
    )
