"""How we prove who we are to a receiver, and by whose word we believe the receiver: TLS contexts made of PEM.

Both are a webhook's own, and come from where secrets are kept. So they are never in a file that others could read, and
never in a message; and wrong ones are told apart when they are given, in words, not at the first attempt.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Final, TypeAlias

import trio
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ..targets import LocalTrouble, Trouble

_Trust: TypeAlias = Callable[[ssl.SSLContext], None]

LONGEST_PEM: Final = 64 * 1024
KEPT: Final = 64
"""Contexts that are kept ready. One that believes the system's authorities holds 0.8 MB and takes 20 ms to make; one
with its own authorities some 20 kB."""

_BLOCK: Final = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----.*?^-----END \1-----", re.MULTILINE | re.DOTALL)
_IDENTITY: Final = (
    "wanted are a client certificate, then those that lead to its authority, and its private key without a "
    "passphrase, in PEM"
)
_AUTHORITIES: Final = "wanted are certificates of authorities, in PEM"


class Contexts:
    """TLS contexts for receivers: for all who want nothing of their own one, and the latest of the others."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """*tls* is how receivers prove who they are, if not by the system's authorities."""
        self._usual = tls
        self._given = tls
        self._made: OrderedDict[tuple[bytes, bytes], ssl.SSLContext] = OrderedDict()

    async def get(self, identity: bytes, authorities: bytes, digests: tuple[bytes, bytes]) -> ssl.SSLContext:
        """Return the context for a new connection.

        Args:
            identity: the certificate chain and the key, in PEM, by which we prove who we are; empty: none.
            authorities: the certificates, in PEM, of those whom we believe; empty: the usual ones.
            digests: of the two, by which a context is found again.

        Raises:
            Trouble: they cannot be used.
            LocalTrouble: there is no memory or no descriptor to load them.
        """
        if not identity and not authorities:
            if self._usual is None:
                self._usual = await trio.to_thread.run_sync(_client, _system)
            return self._usual
        if digests not in self._made:
            # In a thread: the system's authorities take long enough to be felt by others.
            self._made[digests] = await trio.to_thread.run_sync(self._make, identity, authorities)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(digests)
        return self._made[digests]

    def __len__(self) -> int:
        return len(self._made)

    def _make(self, identity: bytes, authorities: bytes) -> ssl.SSLContext:
        try:
            context = _client(lambda context: _believe(context, authorities) if authorities else self._trust(context))
        except (ssl.SSLError, ValueError) as error:
            raise Trouble(f"the webhook's authorities cannot be used: {_why(error)}; {_AUTHORITIES}") from None
        try:
            if identity:
                _prove(context, identity)
        except (ssl.SSLError, ValueError) as error:
            raise Trouble(f"the webhook's client certificate cannot be used: {_why(error)}; {_IDENTITY}") from None
        except OSError as error:
            raise LocalTrouble(f"the webhook's client certificate cannot be loaded: {error.strerror}") from None
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        """Believe whom the usual context believes; contexts cannot be copied.

        The system's authorities are loaded anew: a context tells of none that are in a folder where OpenSSL has not yet
        looked for them. Whose context was given must have loaded them.
        """
        if self._given is None:
            _system(context)
        elif known := self._given.get_ca_certs(binary_form=True):
            context.load_verify_locations(cadata=b"".join(known))


def check_identity(pem: str | bytes, *, now: datetime | None = None) -> str:
    """Return whose client certificate this is and until when it is good, if it can be used with its key.

    Args:
        pem: the certificate, those that lead to its authority, and the key, in PEM.
        now: what time it is; none: the system's.

    Raises:
        ValueError: it cannot be used; the message says what is wrong and what would be right, and repeats no key.
    """
    data = _bytes(pem, _IDENTITY)
    keys = [block[0] for block in _BLOCK.finditer(data) if block[1].endswith(b"PRIVATE KEY")]
    if len(keys) != 1:
        raise ValueError(f"it holds {'several private keys' if keys else 'no private key'}; {_IDENTITY}")
    if b"ENCRYPTED" in keys[0]:  # in the label of PKCS 8, in a header of older forms
        raise ValueError(
            "its key is encrypted; store it without a passphrase (openssl pkey -in KEY): it is kept sealed"
        )
    own, *others = certificates = _certificates(data, _IDENTITY)
    try:
        key = load_pem_private_key(keys[0], None).public_key()
    except Exception:  # whatever the library makes of it could repeat what it read
        raise ValueError(f"its key cannot be read; {_IDENTITY}") from None
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fitting = [one for one in certificates if _public(one) == public]
    if own not in fitting:
        order = "put the certificate of the key first" if fitting else "give the key that belongs to it"
        raise ValueError(f"its key does not belong to its first certificate, of {_name(own)}; {order}")
    _check_times((own, *others), now or datetime.now(UTC))
    _check_purpose(own)
    try:
        _prove(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), data)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"it cannot be used: {_why(error)}; {_IDENTITY}") from None
    return f"{_name(own)}, until {own.not_valid_after_utc:%Y-%m-%d}"


def check_authorities(pem: str | bytes, *, now: datetime | None = None) -> str:
    """Return who these authorities are, if receivers can be believed by their word.

    Raises:
        ValueError: they cannot be used; the message says what is wrong and what would be right.
    """
    data = _bytes(pem, _AUTHORITIES)
    if b"PRIVATE KEY-----" in data:
        raise ValueError(f"it holds a private key, which belongs elsewhere; {_AUTHORITIES}")
    certificates = _certificates(data, _AUTHORITIES)
    now = now or datetime.now(UTC)
    # Bundles hold an expired one now and then, which does no harm beside others.
    _check_times([one for one in certificates if one.not_valid_after_utc >= now] or certificates, now)
    try:
        _believe(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), data)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"it cannot be used: {_why(error)}; {_AUTHORITIES}") from None
    return "; ".join(_name(one) for one in certificates)


# --- contexts --------------------------------------------------------------------------------------------------------


def _client(trust: _Trust) -> ssl.SSLContext:
    """Return a context that checks the receiver's name, by TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= (
        ssl.OP_NO_RENEGOTIATION
    )  # each handshake costs us; TLS 1.2 lets a server ask for them without end
    context.set_alpn_protocols(["http/1.1"])
    trust(context)
    return context


def _system(context: ssl.SSLContext) -> None:
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _believe(context: ssl.SSLContext, authorities: bytes) -> None:
    context.load_verify_locations(cadata=authorities.decode("ascii"))
    # An intermediate authority is an anchor, too, and so is a receiver's own certificate: who gives them means them.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _prove(context: ssl.SSLContext, identity: bytes) -> None:
    with _as_path(identity) as path:
        context.load_cert_chain(path, password=_no_passphrase)


@contextmanager
def _as_path(secret: bytes) -> Generator[str]:
    """Lend a path by which OpenSSL can read a key, since the `ssl` module takes keys from files alone.

    It is anonymous memory that no folder names: nothing reaches a disk, nothing stays behind if we are killed, and
    other users cannot open it. Where there is none, a file of mode 0600 in a folder of mode 0700, removed at once.
    """
    if not (hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd")):
        with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(secret)
            file.flush()
            yield file.name
        return
    with closing(os.fdopen(os.memfd_create("identity", os.MFD_CLOEXEC), "wb", buffering=0)) as memory:
        memory.write(secret)
        yield f"/proc/self/fd/{memory.fileno()}"


def _no_passphrase() -> str:
    """Refuse an encrypted key: without this OpenSSL would ask the terminal for its passphrase, and wait."""
    raise ValueError("the key is encrypted")


def _why(error: Exception) -> str:
    """Return OpenSSL's word for what is wrong; its full messages name its source files."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it cannot be read").replace("_", " ").lower()
    return "it is no ASCII" if isinstance(error, UnicodeError) else str(error)


# --- what is given ---------------------------------------------------------------------------------------------------


def _bytes(pem: str | bytes, wanted: str) -> bytes:
    try:
        data = pem.encode("ascii") if isinstance(pem, str) else pem
        data.decode("ascii")
    except UnicodeError:
        raise ValueError(f"it is no text in ASCII; {wanted}") from None
    if len(data) > LONGEST_PEM:
        raise ValueError(f"it has {len(data)} bytes; {LONGEST_PEM} are allowed")
    return data


def _certificates(data: bytes, wanted: str) -> list[x509.Certificate]:
    """Return the certificates that stand in a text (RFC 7468), in its order; at least one."""
    blocks = [block[0] for block in _BLOCK.finditer(data) if block[1] == b"CERTIFICATE"]
    if not blocks:
        raise ValueError(f"it holds no certificate; {wanted}")
    try:
        certificates = [x509.load_pem_x509_certificate(block) for block in blocks]
        for one in certificates:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"its certificates cannot be read; {wanted}") from None
    return certificates


def _check_times(certificates: Iterable[x509.Certificate], now: datetime) -> None:
    for one in certificates:
        if one.not_valid_after_utc < now:
            raise ValueError(
                f"the certificate of {_name(one)} expired on {one.not_valid_after_utc:%Y-%m-%d}; give its successor"
            )
        if one.not_valid_before_utc > now:
            raise ValueError(
                f"the certificate of {_name(one)} is not good before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            )


def _check_purpose(own: x509.Certificate) -> None:
    try:
        uses = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(uses):
        raise ValueError(f"the certificate of {_name(own)} is not for clients; let its authority allow clientAuth")


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(certificate: x509.Certificate) -> str:
    """Return whom a certificate names, on one line."""
    name = certificate.subject.rfc4514_string()
    if not name:
        name = f"serial number {certificate.serial_number:x}"
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]
