"""TLS for stations: contexts whose certificates and authorities can be changed while stations stay."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificates

from ..engine.errors import WrongSetting

_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, for ECDSA and RSA certificates alike, each with forward secrecy; those of 1.3 are always on."""

_LAST_SUITES: Final = "AES128-GCM-SHA256:AES256-GCM-SHA384"
"""RSA key exchange, without forward secrecy: a station may know nothing else (security whitepaper, A00.FR.319), so it
is served (A00.FR.318) where there is an RSA certificate, and chosen where nothing better is offered."""


class StationTls:
    """A server's certificate and key, from PEM files, and the authorities whose client certificates it takes.

    TLS 1.2 and 1.3, with ephemeral keys for all who know them, without renegotiation and compression (security
    whitepaper, A00.FR.306 to 319). A second certificate with an RSA key may stand beside one with an elliptic key:
    OpenSSL shows each station the one that it can check, and prefers the first (A00.FR.312), which costs a tenth to
    sign with.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        rsa: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        """Load the files.

        Args:
            certificate: a chain, the server's own first.
            key: its key.
            rsa: another chain and its key, an RSA one, for stations that know no elliptic curves.
            client_ca: authorities, of which intermediate ones do. Stations are then asked for a certificate; who
                shows none comes in as far as TLS goes, so that whoever decides can say what is missing.

        Raises:
            WrongSetting: they cannot be read, or do not belong together.
        """
        self._certificate, self._key, self._rsa, self._client_ca = certificate, key, rsa, client_ca
        self._context = self._fresh()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for a handshake that begins now."""
        return self._context

    def reload(self) -> None:
        """Load the files again, for handshakes from here on. Where they cannot be used, the old ones stay.

        Raises:
            WrongSetting: as at first.
        """
        # A new one: authorities can be added to a context, but none can be taken away, and tickets of the old one
        # would let certificates in that its authorities vouched for.
        self._context = self._fresh()

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 1  # a station comes back with one connection at a time
        _load_chain(context, self._certificate, self._key, "tls_certificate", "tls_key")
        if self._rsa is not None:
            _check_kinds(self._certificate, self._rsa[0])
            _load_chain(context, *self._rsa, "tls_certificate_rsa", "tls_key_rsa")
        rsa = self._rsa is not None or _has_rsa_key(self._certificate)
        context.set_ciphers(f"{_SUITES}:{_LAST_SUITES}" if rsa else _SUITES)
        if self._client_ca is not None:
            _load_authorities(context, self._client_ca)
        return context


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path, setting: str, key_setting: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except FileNotFoundError:
        missing = key if certificate.exists() else certificate
        raise WrongSetting(f"[stations] {setting}, {key_setting}: {missing} does not exist") from None
    except ssl.SSLError as error:
        raise WrongSetting(
            f"[stations] {setting} = {str(certificate)!r} and {key_setting} = {str(key)!r} cannot be "
            f"used together: {error.reason or error}; wanted are a certificate chain and its key, in PEM"
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise WrongSetting(f"[stations] {setting}, {key_setting}: they cannot be read: {reason}") from None


def _check_kinds(certificate: Path, rsa: Path) -> None:
    """Refuse two certificates of one kind: the second would silently take the first one's place."""
    if not _has_rsa_key(rsa):
        raise WrongSetting(f"[stations] tls_certificate_rsa = {str(rsa)!r} has no RSA key; it belongs to one that has")
    if _has_rsa_key(certificate):
        raise WrongSetting(
            f"[stations] tls_certificate = {str(certificate)!r} has an RSA key, as tls_certificate_rsa has: put an "
            "ECDSA one there, or leave tls_certificate_rsa out"
        )


def _has_rsa_key(certificate: Path) -> bool:
    try:
        return isinstance(load_pem_x509_certificates(certificate.read_bytes())[0].public_key(), RSAPublicKey)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "wanted is a certificate chain, in PEM"
        raise WrongSetting(f"[stations] {str(certificate)!r} cannot be read: {reason}") from None


def _load_authorities(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except FileNotFoundError:
        raise WrongSetting(f"[stations] tls_client_ca: {file} does not exist") from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
        raise WrongSetting(
            f"[stations] tls_client_ca = {str(file)!r} cannot be used: {reason or error}; wanted are certificates of "
            "authorities, in PEM"
        ) from None
    context.verify_mode = ssl.CERT_OPTIONAL
    # An intermediate authority is an anchor, too: an operator may trust his own, and not all of its root's.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _no_passphrase() -> str:
    """Refuse an encrypted key: without this OpenSSL would ask the terminal for its passphrase, and wait."""
    raise ValueError("the key is encrypted; store it without a passphrase, readable by the daemon alone")
