"""TLS for stations: certificates that can be changed while they serve, and what is told of those that cannot be."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from stationkeeper.daemon.tls import StationTls
from stationkeeper.engine.errors import WrongSetting


def issue(folder: Path, name: str, authority: trustme.CA) -> trustme.LeafCert:
    certificate = authority.issue_cert("127.0.0.1")
    (folder / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return certificate


def shakes_hands(server: ssl.SSLContext, authority: trustme.CA) -> bool:
    """Return whether a client that trusts an authority takes the server's certificate."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        trusting.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return ends[0].version() in ("TLSv1.2", "TLSv1.3")


def test_a_reload_takes_up_a_new_certificate_in_the_same_context(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    issue(tmp_path, "a", first)
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key")
    context = tls.context
    assert shakes_hands(context, first)
    issue(tmp_path, "a", second)

    tls.reload()

    assert shakes_hands(context, second)
    assert not shakes_hands(context, first)


def test_a_reload_that_fails_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key")
    (tmp_path / "a.key").write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())

    with pytest.raises(WrongSetting, match="cannot be used together"):
        tls.reload()

    assert shakes_hands(tls.context, authority)


def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    issue(tmp_path, "a", trustme.CA())

    assert StationTls(tmp_path / "a.pem", tmp_path / "a.key").context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    issue(tmp_path, "a", trustme.CA())
    (tmp_path / "a.key").unlink()

    with pytest.raises(WrongSetting, match=r"a\.key does not exist"):
        StationTls(tmp_path / "a.pem", tmp_path / "a.key")


def test_an_encrypted_key_is_told_and_asks_nobody_for_its_passphrase(tmp_path: Path) -> None:
    certificate = issue(tmp_path, "a", trustme.CA())
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (tmp_path / "a.key").write_bytes(locked)

    with pytest.raises(WrongSetting, match="the key is encrypted"):
        StationTls(tmp_path / "a.pem", tmp_path / "a.key")


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    issue(tmp_path, "a", trustme.CA())
    (tmp_path / "a.pem").write_text("nothing of the kind")

    with pytest.raises(WrongSetting, match="in PEM"):
        StationTls(tmp_path / "a.pem", tmp_path / "a.key")
