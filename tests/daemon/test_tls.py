"""TLS for stations: certificates that can be changed while they serve, and what is told of those that cannot be."""

from __future__ import annotations

import ssl
from contextlib import suppress
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


def issue(
    folder: Path, name: str, authority: trustme.CA, kind: trustme.KeyType = trustme.KeyType.ECDSA
) -> trustme.LeafCert:
    certificate = authority.issue_cert("127.0.0.1", key_type=kind)
    (folder / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return certificate


def client_of(authority: trustme.CA) -> ssl.SSLContext:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return trusting


def shakes_hands(server: ssl.SSLContext, authority: trustme.CA) -> bool:
    """Return whether a client that trusts an authority takes the server's certificate."""
    try:
        return meet(server, client_of(authority))[0].version() in ("TLSv1.2", "TLSv1.3")
    except ssl.SSLCertVerificationError:
        return False


def meet(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Let a client and a server shake hands; return both ends."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1", session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    for _ in range(4):
        for index, end in enumerate(ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
                done[index] = True
    assert all(done)
    ends[1].write(b"hello")  # with it comes the ticket, in TLS 1.3
    assert ends[0].read(5) == b"hello"
    return ends


def test_a_reload_takes_up_a_new_certificate(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    issue(tmp_path, "a", first)
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key")
    assert shakes_hands(tls.context, first)
    issue(tmp_path, "a", second)

    tls.reload()

    assert shakes_hands(tls.context, second)
    assert not shakes_hands(tls.context, first)


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


# --- versions and suites ----------------------------------------------------------------------------------------------


def restricted(authority: trustme.CA, *, newest: ssl.TLSVersion, suites: str = "") -> ssl.SSLContext:
    client = client_of(authority)
    client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    client.maximum_version = newest
    if suites:
        client.set_ciphers(suites)
    return client


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_a_client_that_speaks_nothing_newer_than_1_1_is_refused(tmp_path: Path) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    server = StationTls(tmp_path / "a.pem", tmp_path / "a.key").context
    old = restricted(authority, newest=ssl.TLSVersion.TLSv1_1, suites="ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        meet(server, old)


@pytest.mark.parametrize("suites", ["AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA"])
def test_suites_without_authenticated_encryption_are_refused(tmp_path: Path, suites: str) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    issue(tmp_path, "rsa", authority, trustme.KeyType.RSA)
    server = both(tmp_path).context

    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        meet(server, restricted(authority, newest=ssl.TLSVersion.TLSv1_2, suites=suites))


@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "AES256-GCM-SHA384"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside an elliptic certificate", "alone"])
def test_a_station_that_knows_rsa_key_exchange_alone_comes_in_where_there_is_an_rsa_certificate(
    tmp_path: Path, suite: str, beside: bool
) -> None:
    """As A00.FR.318 and A00.FR.319 want it."""
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    issue(tmp_path, "rsa", authority, trustme.KeyType.RSA)
    server = both(tmp_path) if beside else StationTls(tmp_path / "rsa.pem", tmp_path / "rsa.key")
    old = restricted(authority, newest=ssl.TLSVersion.TLSv1_2, suites=suite)

    assert chosen(meet(server.context, old)) == suite


def test_without_an_rsa_certificate_there_is_no_suite_without_forward_secrecy(tmp_path: Path) -> None:
    issue(tmp_path, "a", trustme.CA())
    context = StationTls(tmp_path / "a.pem", tmp_path / "a.key").context

    assert all("ECDHE" in suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3")


@pytest.mark.parametrize("better", ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"])
def test_who_can_have_forward_secrecy_has_it_whatever_it_would_rather_have(tmp_path: Path, better: str) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    issue(tmp_path, "rsa", authority, trustme.KeyType.RSA)
    careless = restricted(authority, newest=ssl.TLSVersion.TLSv1_2, suites=f"AES128-GCM-SHA256:{better}")

    assert chosen(meet(both(tmp_path).context, careless)) == better


def chosen(ends: tuple[ssl.SSLObject, ssl.SSLObject]) -> str:
    suite = ends[0].cipher()
    assert suite is not None
    return suite[0]


def both(folder: Path) -> StationTls:
    return StationTls(folder / "a.pem", folder / "a.key", rsa=(folder / "rsa.pem", folder / "rsa.key"))


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_elliptic_certificate_comes_first_and_an_rsa_one_for_those_who_know_no_other(
    tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    elliptic = issue(tmp_path, "a", authority)
    rsa = issue(tmp_path, "rsa", authority, trustme.KeyType.RSA)
    server = both(tmp_path).context
    modern = restricted(authority, newest=newest)
    modern.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")  # whatever it would rather have
    old = restricted(authority, newest=ssl.TLSVersion.TLSv1_2, suites="ECDHE-RSA-AES128-GCM-SHA256")

    assert shown(meet(server, modern)) == der(elliptic)
    assert shown(meet(server, old)) == der(rsa)


def shown(ends: tuple[ssl.SSLObject, ssl.SSLObject]) -> bytes | None:
    return ends[0].getpeercert(binary_form=True)


def der(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def test_no_renegotiation_no_compression_and_one_ticket(tmp_path: Path) -> None:
    issue(tmp_path, "a", trustme.CA())
    context = StationTls(tmp_path / "a.pem", tmp_path / "a.key").context

    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.num_tickets == 1


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (trustme.KeyType.ECDSA, trustme.KeyType.ECDSA, "has no RSA key"),
        (trustme.KeyType.RSA, trustme.KeyType.RSA, "put an ECDSA one there"),
    ],
)
def test_two_certificates_of_one_kind_are_refused(
    tmp_path: Path, first: trustme.KeyType, second: trustme.KeyType, told: str
) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority, first)
    issue(tmp_path, "rsa", authority, second)

    with pytest.raises(WrongSetting, match=told):
        both(tmp_path)


# --- client certificates ----------------------------------------------------------------------------------------------


def test_a_certificate_is_asked_for_and_may_be_missing(tmp_path: Path) -> None:
    authority, stations = trustme.CA(), trustme.CA()
    issue(tmp_path, "a", authority)
    stations.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = StationTls(tmp_path / "a.pem", tmp_path / "a.key", client_ca=tmp_path / "ca.pem").context
    client = client_of(authority)
    nothing = meet(server, client)[1].getpeercert()
    stations.issue_cert("cp-7.example", common_name="CP-7").configure_cert(client)

    assert nothing in (None, {})
    assert meet(server, client)[1].getpeercert()


def test_an_intermediate_authority_vouches_without_its_root_and_no_other_of_that_root_does(tmp_path: Path) -> None:
    authority, root = trustme.CA(), trustme.CA()
    ours, theirs = root.create_child_ca(), root.create_child_ca()
    issue(tmp_path, "a", authority)
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = StationTls(tmp_path / "a.pem", tmp_path / "a.key", client_ca=tmp_path / "ca.pem").context
    own, other = client_of(authority), client_of(authority)
    ours.issue_cert("cp-7.example").configure_cert(own)
    theirs.issue_cert("cp-7.example").configure_cert(other)

    assert meet(server, own)[1].getpeercert()
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(server, other)


def test_a_reload_takes_authorities_away(tmp_path: Path) -> None:
    authority, before, after = trustme.CA(), trustme.CA(), trustme.CA()
    issue(tmp_path, "a", authority)
    before.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key", client_ca=tmp_path / "ca.pem")
    client = client_of(authority)
    before.issue_cert("cp-7.example").configure_cert(client)
    assert meet(tls.context, client)[1].getpeercert()
    after.cert_pem.write_to_path(tmp_path / "ca.pem")

    tls.reload()

    with pytest.raises(ssl.SSLCertVerificationError):
        meet(tls.context, client)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_still_has_its_certificate_and_ends_with_a_reload(
    tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    authority, stations = trustme.CA(), trustme.CA()
    issue(tmp_path, "a", authority)
    stations.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key", client_ca=tmp_path / "ca.pem")
    client = restricted(authority, newest=newest)
    stations.issue_cert("cp-7.example", common_name="CP-7").configure_cert(client)

    first = meet(tls.context, client)
    resumed = meet(tls.context, client, first[0].session)
    tls.reload()
    after = meet(tls.context, client, resumed[0].session)

    assert [ends[1].session_reused for ends in (first, resumed, after)] == [False, True, False]
    assert first[1].getpeercert() == resumed[1].getpeercert() == after[1].getpeercert() != {}


@pytest.mark.parametrize("text", [None, "", "nothing of the kind"])
def test_authorities_that_cannot_be_read_are_told_and_the_old_ones_stay(tmp_path: Path, text: str | None) -> None:
    authority = trustme.CA()
    issue(tmp_path, "a", authority)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = StationTls(tmp_path / "a.pem", tmp_path / "a.key", client_ca=tmp_path / "ca.pem")
    context = tls.context
    (tmp_path / "ca.pem").unlink()
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)

    with pytest.raises(WrongSetting, match="tls_client_ca"):
        tls.reload()

    assert tls.context is context
