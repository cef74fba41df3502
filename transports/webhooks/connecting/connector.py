"""How a receiver is reached: its name resolved, its addresses checked, a connection made, directly or by a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final

import h11
import trio

from ..targets import LocalTrouble, Target, Trouble, is_address
from ..wires import Wire, route_of
from .addresses import is_own, special
from .encryption import encrypt
from .identities import Contexts
from .names import Address, Names
from .proof import Proof
from .proxy import Proxy, open_tunnel
from .reaching import OURS, reach, reason


class Connector:
    """Makes new connections, to public addresses only unless told otherwise.

    The name is resolved here, every address is checked, and the connection goes to an address that was checked: a
    name that points elsewhere the next moment changes nothing. With a proxy the name goes to the proxy, which then
    guards what it leads to; an address in a URL is checked here all the same.
    """

    def __init__(
        self,
        *,
        timeout: float,
        tls_timeout: float,
        allow_private_networks: bool,
        tls: ssl.SSLContext | None,
        proxy: Proxy | None = None,
    ) -> None:
        self._timeout = timeout
        self._tls_timeout = tls_timeout
        self._allow_private_networks = allow_private_networks
        self._proxy = proxy
        self._tunnels = Proof()
        self._names = Names()
        self._contexts = Contexts(tls)

    async def connect(
        self, target: Target, enter: Callable[[str], None], identity: bytes = b"", authorities: bytes = b""
    ) -> Wire:
        """Connect to a receiver.

        Args:
            target: whom to.
            enter: is told each stage, for messages about time.
            identity: the certificate chain and the key, in PEM, by which we prove who we are; empty: none.
            authorities: the certificates, in PEM, of those whom we believe; empty: the usual ones.

        Raises:
            Trouble: it cannot be reached, or must not be.
            LocalTrouble: for a reason on our side.
            trio.BrokenResourceError: TLS failed; the cause is the `ssl.SSLError` or the `OSError`.
        """
        scheme, host, port = target.origin
        route = route_of(target.origin, identity, authorities)
        # First of all, so that nobody hears of an attempt that cannot be made.
        context = None
        if scheme == "https":
            context = await self._contexts.get(identity, authorities, (route.identity, route.authorities))
        enter("looking up the receiver")
        raw = await (
            self._direct(host, port, enter) if self._proxy is None else self._tunnel(self._proxy, target, enter)
        )
        if context is None:
            return Wire(route, raw, raw)
        enter("the TLS handshake")
        return Wire(route, raw, await encrypt(raw, context, host, timeout=self._tls_timeout))

    async def _direct(self, host: str, port: int, enter: Callable[[str], None]) -> trio.SocketStream:
        addresses = await self._names.find(host, port, self._timeout)
        self._guard(host, addresses)
        enter("connecting")
        return await reach(addresses, self._timeout)

    async def _tunnel(self, proxy: Proxy, target: Target, enter: Callable[[str], None]) -> trio.SocketStream:
        _, host, port = target.origin
        if is_address(host):
            self._guard(host, await self._names.find(host, port, self._timeout))
        enter("connecting to the proxy")
        try:
            raw = await reach(await self._names.find(proxy.host, proxy.port, self._timeout), self._timeout)
        except Trouble as trouble:
            raise LocalTrouble(f"{proxy} cannot be reached: {trouble}") from None
        enter("connecting through the proxy")
        receiver = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        await open_tunnel(proxy, raw, receiver, self._timeout, self._tunnels)
        return raw

    def _guard(self, host: str, addresses: Sequence[Address]) -> None:
        if self._allow_private_networks:
            return
        for _, where in addresses:
            if why := special(str(where[0])) or ("of this very host" if is_own(str(where[0])) else ""):
                raise Trouble(f"{host} is at {where[0]}, which is not a public address ({why}): nothing is sent")


def is_local(error: Exception) -> bool:
    """Return whether an attempt failed for a reason on our side (`Answer.local`)."""
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    return isinstance(error, LocalTrouble) or (isinstance(cause, OSError) and cause.errno in OURS)


def in_words(error: Exception) -> str:
    """Return what went wrong between us and a receiver, for its owner."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {_alert(cause.reason or '') or cause.reason or cause}"
    if isinstance(error, Trouble):
        return str(error)
    if isinstance(error, trio.BrokenResourceError):
        return f"the connection broke: {reason(cause) if isinstance(cause, OSError) else 'the receiver ended it'}"
    if isinstance(error, h11.RemoteProtocolError):
        return f"its answer is not HTTP: {error}"
    return f"{type(error).__name__}: {error}"


def _alert(reason: str) -> str:
    """Return what a receiver says of our certificate (RFC 8446, 6.2); empty if OpenSSL's *reason* is another."""
    # The name before it is of the version of TLS in which the alert was new.
    said = _ALERTS.get(reason.partition("_ALERT_")[2])
    return f"the receiver says that {said}" if said else ""


_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "it wants to see a client certificate; give the webhook one (client_certificate)",
    "CERTIFICATE_EXPIRED": "our client certificate has expired; give the webhook a new one (client_certificate)",
    "CERTIFICATE_REVOKED": "our client certificate was revoked; give the webhook a new one (client_certificate)",
    "UNKNOWN_CA": "it does not know the authority that issued our client certificate",
    "BAD_CERTIFICATE": "something is wrong with our client certificate",
    "CERTIFICATE_UNKNOWN": "it does not accept our client certificate",
    "UNSUPPORTED_CERTIFICATE": "our client certificate is of a kind that it does not take",
    "ACCESS_DENIED": "whoever our client certificate names may not send to it",
}
"""What the alerts about certificates mean that come from a receiver, and so speak of ours."""
