"""TLS for stations: a context whose certificate can be changed while it serves."""

from __future__ import annotations

import ssl
from pathlib import Path

from ..engine.errors import WrongSetting


class StationTls:
    """A server's certificate and key, from PEM files.

    TLS 1.2 and 1.3, without renegotiation and compression (OCPP security whitepaper, A00.FR.306 to 318).
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the files.

        Raises:
            WrongSetting: they cannot be read, or do not belong together.
        """
        self._certificate, self._key = certificate, key
        self.context = self._fresh()

    def reload(self) -> None:
        """Load the files again, for handshakes from here on. Where they cannot be used, the old ones stay.

        Raises:
            WrongSetting: as at first.
        """
        self._fresh()
        # Only once a context of its own took them: a failure half way would leave the one in use without a key.
        self.context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except FileNotFoundError:
            missing = self._key if self._certificate.exists() else self._certificate
            raise WrongSetting(f"[stations] tls_certificate, tls_key: {missing} does not exist") from None
        except ssl.SSLError as error:
            raise WrongSetting(
                f"[stations] tls_certificate = {str(self._certificate)!r} and tls_key = {str(self._key)!r} cannot be "
                f"used together: {error.reason or error}; wanted are a certificate chain and its key, in PEM"
            ) from None
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise WrongSetting(f"[stations] tls_certificate, tls_key: they cannot be read: {reason}") from None
        return context


def _no_passphrase() -> str:
    """Refuse an encrypted key: without this OpenSSL would ask the terminal for its passphrase, and wait."""
    raise ValueError("the key is encrypted; store it without a passphrase, readable by the daemon alone")
