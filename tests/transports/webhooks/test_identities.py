"""Client certificates and authorities of a webhook's own: what is refused when given, and what goes over the wire."""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import tempfile
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trustme
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from receiving import OK, Request, answering, attempt_at, receiving

from stationkeeper.transports import WebhookSender
from stationkeeper.transports.webhooks.connecting.connector import in_words
from stationkeeper.transports.webhooks.connecting.identities import (
    KEPT,
    LONGEST_PEM,
    Contexts,
    check_authorities,
    check_identity,
)
from stationkeeper.transports.webhooks.targets import Trouble

NOW = datetime.now(UTC)
AUTHORITY = trustme.CA()
INTERMEDIATE = AUTHORITY.create_child_ca()
LEAF = INTERMEDIATE.issue_cert("gateway.example", common_name="gateway.example")
OTHER = AUTHORITY.issue_cert("other.example", common_name="other.example")
KEY, CHAIN = LEAF.private_key_pem.bytes(), b"".join(one.bytes() for one in LEAF.cert_chain_pems)
SECRET = KEY.splitlines()[1].decode()


def pem(leaf: trustme.LeafCert) -> bytes:
    return leaf.private_key_and_cert_chain_pem.bytes()


def made(use: x509.ObjectIdentifier | None = None, *, days: float = 1, since: float = -1) -> tuple[bytes, bytes]:
    """Return a certificate by its own authority and its key, good from and for so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW + timedelta(since), NOW + timedelta(days))
    if use is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def sealed(form: PrivateFormat) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [KEY + CHAIN, CHAIN + KEY, (CHAIN + KEY).decode(), b"a note\n" + CHAIN + KEY])
def test_an_identity_says_whose_it_is_and_until_when(identity: str | bytes) -> None:
    assert check_identity(identity).startswith("CN=gateway.example")
    assert check_identity(identity).endswith(", until 3000-01-01")


@pytest.mark.parametrize("use", [None, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
def test_an_identity_may_be_for_clients_or_for_anything(use: x509.ObjectIdentifier | None) -> None:
    assert check_identity(b"".join(made(use))).startswith("CN=made.example")


EXPIRED, FUTURE = made(days=-0.5), made(days=9, since=3)

REFUSED = [
    ("", "no private key"),
    (KEY, "no certificate"),
    (CHAIN, "no private key"),
    (KEY + KEY + CHAIN, "several private keys"),
    (CHAIN + OTHER.private_key_pem.bytes(), "does not belong .* give the key"),
    (b"".join(one.bytes() for one in reversed(LEAF.cert_chain_pems)) + KEY, "certificate of the key first"),
    (CHAIN + sealed(PrivateFormat.PKCS8), "encrypted; store it without"),
    (CHAIN + sealed(PrivateFormat.TraditionalOpenSSL), "encrypted; store it without"),
    (b"".join(EXPIRED), f"expired on {NOW - timedelta(0.5):%Y-%m-%d}; give its successor"),
    (b"".join(FUTURE), "not good before"),
    (b"".join(made(ExtendedKeyUsageOID.SERVER_AUTH)), "not for clients"),
    (CHAIN + KEY[:60] + b"!!!!" + KEY[64:], "key cannot be read"),
    (CHAIN[:60] + b"!!!!" + CHAIN[64:] + KEY, "certificates cannot be read"),
    ("ä", "ASCII"),
    (b"\xff\xfe" + CHAIN + KEY, "ASCII"),
    (CHAIN + KEY + b"\n" * LONGEST_PEM, f"{LONGEST_PEM} are allowed"),
]


@pytest.mark.parametrize(("identity", "reason"), REFUSED)
def test_an_identity_that_cannot_be_used_is_refused_in_words(identity: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        check_identity(identity)
    assert SECRET not in str(refusal.value)


async def test_an_identity_that_was_stored_all_the_same_is_trouble_in_words() -> None:
    for identity in (CHAIN, KEY, CHAIN + OTHER.private_key_pem.bytes(), CHAIN + sealed(PrivateFormat.PKCS8), b"x"):
        with pytest.raises(Trouble, match=r"client certificate cannot be used: .*; wanted are") as refusal:
            await Contexts().get(identity, b"", (identity, b""))
        assert SECRET not in str(refusal.value)


def test_authorities_say_who_they_are() -> None:
    bundle = AUTHORITY.cert_pem.bytes() + INTERMEDIATE.cert_pem.bytes()

    assert check_authorities(bundle).count("trustme") >= 2
    assert check_authorities(bundle + EXPIRED[0])


@pytest.mark.parametrize(
    ("authorities", "reason"),
    [
        ("", "no certificate"),
        ("nothing", "no certificate"),
        (KEY, "holds a private key, which belongs elsewhere"),
        (AUTHORITY.cert_pem.bytes() + KEY, "holds a private key, which belongs elsewhere"),
        (EXPIRED[0], "expired"),
        (FUTURE[0], "not good before"),
        (CHAIN[:60] + b"!!!!" + CHAIN[64:], "cannot be read"),
    ],
)
def test_authorities_that_cannot_be_used_are_refused_in_words(authorities: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        check_authorities(authorities)
    assert SECRET not in str(refusal.value)


# --- contexts --------------------------------------------------------------------------------------------------------


async def test_every_context_checks_names_and_speaks_new_tls_alone() -> None:
    contexts = Contexts()
    mine = AUTHORITY.cert_pem.bytes()
    for identity, authorities in ((b"", b""), (pem(LEAF), b""), (b"", mine), (pem(LEAF), mine)):
        context = await contexts.get(identity, authorities, (identity, authorities))
        assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert (context.cert_store_stats()["x509"] == 1) is bool(authorities)


async def test_contexts_are_kept_and_bounded() -> None:
    contexts = Contexts(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    mine = AUTHORITY.cert_pem.bytes()
    first = await contexts.get(b"", mine, (b"", b"first"))
    for number in range(KEPT):
        assert await contexts.get(b"", mine, (b"", b"first")) is first
        await contexts.get(b"", mine, (b"", b"%d" % number))

    assert len(contexts) == KEPT
    assert await contexts.get(b"", mine, (b"", b"first")) is first
    for number in range(KEPT):
        await contexts.get(b"", mine, (b"", b"another %d" % number))
    assert await contexts.get(b"", mine, (b"", b"first")) is not first


@pytest.mark.parametrize("memory", [True, False])
async def test_a_key_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: bool) -> None:
    """Nothing on disk where there is anonymous memory; where there is none a file that nobody else can read."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    seen: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, path: str, **options: object) -> None:
        seen.extend(stat.st_mode & 0o077 for place in tmp_path.rglob("*") for stat in [place.stat()])
        load(context, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    opened = len(os.listdir("/proc/self/fd"))
    await Contexts().get(pem(LEAF), AUTHORITY.cert_pem.bytes(), (b"1", b"1"))

    assert seen == ([] if memory else [0, 0])
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) <= opened + 2  # the thread's own


# --- over the wire ---------------------------------------------------------------------------------------------------


class Asking:
    """A receiver that wants to know who comes."""

    def __init__(self, wanted: trustme.CA | None = None) -> None:
        self.visitors: list[str] = []
        """The common name on the certificate of each connection, if it showed one."""
        self.requests: list[Request] = []
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.set_alpn_protocols(["h2", "http/1.1"])
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(self.tls)
        if wanted is not None:
            self.tls.verify_mode = ssl.CERT_REQUIRED
            wanted.configure_trust(self.tls)

    async def __call__(self, stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "http/1.1"
        subject = (stream.getpeercert() or {}).get("subject", ())
        self.visitors.append(dict(pair for pairs in subject for pair in pairs).get("commonName", ""))
        await answering(OK, self.requests)(stream)


def believing(authority: trustme.CA) -> WebhookSender:
    """Return a sender that believes one authority by itself, in place of the system's."""
    usual = ssl.create_default_context()
    usual.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(usual)
    return WebhookSender(allow_private_networks=True, tls=usual)


async def test_a_receiver_that_wants_to_know_us_is_shown_the_certificate() -> None:
    script = Asking(AUTHORITY)
    async with receiving(script, script.tls) as receiver, aclosing(believing(AUTHORITY)) as sending:
        unknown = await sending.send(attempt_at(receiver.url))
        known = await sending.send(evolve(attempt_at(receiver.url), identity=pem(LEAF)))

    assert (unknown.status, unknown.local) == (None, False)
    assert unknown.error
    assert (known.status, known.error) == (200, "")
    assert script.visitors == ["gateway.example"]


STALE = AUTHORITY.issue_cert("gateway.example", not_after=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (STALE, "our client certificate has expired"),
        (trustme.CA().issue_cert("gateway.example"), "it does not know the authority that issued our client"),
        (None, "it wants to see a client certificate; give the webhook one"),
    ],
)
def test_what_a_receiver_does_not_like_about_our_certificate_is_said(
    shown: trustme.LeafCert | None, said: str, version: ssl.TLSVersion
) -> None:
    if shown is None and version == ssl.TLSVersion.TLSv1_2:
        said = "HANDSHAKE_FAILURE"  # its alert says no more
    server, client = Asking(AUTHORITY).tls, ssl.create_default_context()
    server.minimum_version = server.maximum_version = version
    AUTHORITY.configure_trust(client)
    if shown is not None:
        shown.configure_cert(client)
    error = trio.BrokenResourceError()
    error.__cause__ = refused(server, client)

    assert said in in_words(error)
    assert in_words(error).startswith("TLS failed: ")


def refused(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLError:
    """Return what a client hears of a server that does not take its certificate."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there, server_hostname="127.0.0.1"), server.wrap_bio(there, back, server_side=True)
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
                end.read(1)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                if end is ends[0]:
                    return error
    raise AssertionError("the server took the certificate")


@pytest.mark.parametrize("identity", [b"", pem(LEAF)])
async def test_own_authorities_take_the_place_of_the_usual_ones(identity: bytes) -> None:
    script = Asking()
    believed, other = AUTHORITY.cert_pem.bytes(), trustme.CA().cert_pem.bytes()
    async with receiving(script, script.tls) as receiver:
        attempt = evolve(attempt_at(receiver.url), identity=identity)
        async with aclosing(believing(trustme.CA())) as sending:
            assert "certificate was not accepted" in (await sending.send(attempt)).error
            assert (await sending.send(evolve(attempt, authorities=believed))).status == 200
        async with aclosing(believing(AUTHORITY)) as sending:
            assert (await sending.send(attempt)).status == 200
            assert "certificate was not accepted" in (await sending.send(evolve(attempt, authorities=other))).error

    assert len(script.requests) == 2


async def test_a_system_that_keeps_its_authorities_in_a_folder_is_believed_with_an_identity_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL looks into such a folder only when it meets a name: until then a context does not tell what is in it."""
    (tmp_path / in_folder(AUTHORITY)).write_bytes(AUTHORITY.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    script, stranger = Asking(AUTHORITY), Asking()
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger.tls)
    async with (
        receiving(stranger, stranger.tls) as unknown,
        receiving(script, script.tls) as receiver,
        aclosing(WebhookSender(allow_private_networks=True)) as sending,
    ):
        refused = await sending.send(attempt_at(unknown.url))
        answer = await sending.send(evolve(attempt_at(receiver.url), identity=pem(LEAF)))

    assert "certificate was not accepted" in refused.error
    assert (answer.status, answer.error) == (200, "")


def in_folder(authority: trustme.CA) -> str:
    """Return under which name OpenSSL looks for an authority: by a hash of its subject, as `openssl rehash` does it."""
    subject = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    canonical = x509.Name([x509.NameAttribute(one.oid, str(one.value).lower()) for one in subject]).public_bytes()
    assert canonical[1] < 0x80, "the header of the sequence is two bytes, which do not count"
    return f"{int.from_bytes(hashlib.sha1(canonical[2:]).digest()[:4], 'little'):08x}.0"


async def test_a_receivers_own_certificate_may_be_its_authority() -> None:
    """Pinned, as those do who have no authority; its name must be right all the same."""
    script = Asking()
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    leaf.configure_cert(script.tls)
    pinned = leaf.cert_chain_pems[0].bytes()
    async with receiving(script, script.tls) as receiver, aclosing(believing(trustme.CA())) as sending:
        right = await sending.send(evolve(attempt_at(receiver.url), authorities=pinned))
        wrong = await sending.send(
            evolve(attempt_at(receiver.url.replace("127.0.0.1", "localhost")), authorities=pinned)
        )

    assert right.status == 200
    assert "certificate was not accepted" in wrong.error


async def test_connections_are_not_shared_between_identities() -> None:
    script = Asking(AUTHORITY)
    async with receiving(script, script.tls) as receiver, aclosing(believing(AUTHORITY)) as sending:
        for leaf in (LEAF, OTHER, LEAF, OTHER):
            assert (await sending.send(evolve(attempt_at(receiver.url), identity=pem(leaf)))).status == 200

    assert script.visitors == ["gateway.example", "other.example"]
    assert len(script.requests) == 4


async def test_an_identity_that_cannot_be_used_costs_the_receiver_nothing() -> None:
    script = Asking()
    async with receiving(script, script.tls) as receiver, aclosing(believing(AUTHORITY)) as sending:
        answer = await sending.send(evolve(attempt_at(receiver.url), identity=KEY))

    assert answer.error.startswith("the webhook's client certificate cannot be used")
    assert (answer.local, receiver.connections) == (False, 0)


async def test_where_a_key_cannot_be_loaded_for_want_of_descriptors_that_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", none_left)
    async with aclosing(believing(AUTHORITY)) as sending:
        answer = await sending.send(evolve(attempt_at("https://127.0.0.1:9/"), identity=pem(LEAF)))

    assert answer.local
    assert "Too many open files" in answer.error
