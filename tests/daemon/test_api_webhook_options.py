"""Every option of a webhook over the API: what is taken, what is refused and in which words, and what is shown."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from office import Office, open_office

from stationkeeper.daemon.api import webhook_shapes
from stationkeeper.daemon.configuration.webhooks import WebhookSection
from stationkeeper.daemon.registry.standing import bring_into_line, read_standing
from stationkeeper.daemon.registry.subscriptions import STANDING_PREFIX
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, UrlPolicy
from stationkeeper.engine.events import WebhookFailed, WebhookResumed, WebhookSuspended
from stationkeeper.projections import webhooks

URL = "https://receiver.example/hook"
CANARY = "canary-5f1c"


@frozen
class Pems:
    """A certificate with its key, another's key, and an authority."""

    identity: str
    key: str
    certificate: str
    other_key: str
    encrypted: str
    authority: str


@pytest.fixture(scope="module")
def pems() -> Pems:
    ca = trustme.CA()
    one, other = ca.issue_cert("ours.example"), ca.issue_cert("other.example")
    key, chain = one.private_key_pem.bytes(), b"".join(blob.bytes() for blob in one.cert_chain_pems)
    encrypted = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    return Pems(
        identity=(chain + key).decode(),
        key=key.decode(),
        certificate=chain.decode(),
        other_key=other.private_key_pem.bytes().decode(),
        encrypted=(chain + encrypted).decode(),
        authority=ca.cert_pem.bytes().decode(),
    )


async def made(office: Office, **options: Any) -> dict[str, Any]:
    answer = await office.ask("POST", "/webhooks", {"url": URL, **options})
    assert answer.status == 201, answer.text
    return dict(answer.json)


def newest(office: Office) -> tuple[str, dict[str, Any]]:
    """Return the kind and the body of the newest event."""
    recorded = list(office.engine.log.read())[-1]
    return recorded.kind, json.loads(recorded.body)


async def test_all_that_was_said_is_recorded_and_shown_but_for_what_is_secret(pems: Pems) -> None:
    said = {
        "events": ["chargestation.offline.confirmed"], "stations": ["CP-1*"], "sites": ["North*"], "initial": "state",
        "name": "Operations", "mode": "latest", "format": "cloudevents", "signatures": ["v1", "v1a"], "rate": 2.5,
        "concurrency": 3,
    }  # fmt: skip
    headers = {"X-Team": CANARY, "Authorization": f"Bearer {CANARY}"}
    async with open_office() as office:
        first = await made(
            office, **said, headers=headers, client_certificate=pems.identity, authorities=pems.authority
        )
        kind, body = newest(office)
        shown = (await office.ask("GET", f"/webhooks/{first['id']}")).json

    webhook_shapes.WebhookWithSecret.model_validate(first)
    webhook_shapes.Webhook.model_validate(shown)
    assert kind == "webhook.added"
    assert {name: shown[name] for name in said} == said
    assert shown["headers"] == ["Authorization", "X-Team"]
    assert "secret" not in shown
    assert first["secret"].startswith("whsec_")
    assert len(b64decode(first["public_key"].removeprefix("whpk_"))) == 32
    assert "ours.example" in shown["client_certificate"]["subject"] or shown["client_certificate"]["notAfter"]
    assert [set(one) for one in shown["authorities"]] == [{"subject", "notAfter"}]
    for text in (json.dumps(body), json.dumps(shown)):
        assert CANARY not in text
        assert "PRIVATE KEY" not in text
        assert "CERTIFICATE-" not in text


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"sites": []}, "sites", "at least one pattern of sites"),
    ({"sites": ["x" * 300]}, "sites", "255 characters"),
    ({"mode": "newest"}, "mode", "'every' or 'latest'"),
    ({"format": "xml"}, "format", "'standard' or 'cloudevents'"),
    ({"signatures": []}, "signatures", '["v1"]'),
    ({"signatures": ["v1", "v1"]}, "signatures", "each once"),
    ({"signatures": ["v2"]}, "signatures", "v1a (Ed25519)"),
    ({"headers": {"Host": CANARY}}, "headers", "Host is set by Stationkeeper"),
    ({"headers": {"content-length": CANARY}}, "headers", "content-length is set"),
    ({"headers": {"Webhook-Id": CANARY}}, "headers", "Webhook-Id is set"),
    ({"headers": {"Stationkeeper-Checkpoint": CANARY}}, "headers", "choose another name"),
    ({"headers": {"Transfer-Encoding": CANARY}}, "headers", "choose another name"),
    ({"headers": {"Proxy-Authorization": CANARY}}, "headers", "choose another name"),
    ({"headers": {"X Y": CANARY}}, "headers", "no header's name"),
    ({"headers": {"X\r\nY": CANARY}}, "headers", "no header's name"),
    ({"headers": {"": CANARY}}, "headers", "no header's name"),
    ({"headers": {"X-A": CANARY, "x-a": CANARY}}, "headers", "stands twice"),
    ({"headers": {"x-b": CANARY, "X-B": CANARY}}, "headers", "stands twice"),
    ({"headers": {"X-A": f"{CANARY}\r\nX-B: 1"}}, "headers.X-A", "a line break; write it on one line"),
    ({"headers": {"X-A": f" {CANARY}"}}, "headers.X-A", "a space at an end"),
    ({"headers": {"X-A": f"{CANARY} \u00fc"}}, "headers.X-A", "ASCII"),
    ({"headers": {"X-A": ""}}, "headers.X-A", "is empty"),
    ({"headers": {"X-A": CANARY * 1000}}, "headers.X-A", "up to 4096 are allowed"),
    ({"headers": {f"X-{n}": CANARY for n in range(21)}}, "headers", "up to 20"),
    ({"client_certificate": CANARY}, "client_certificate", "it holds no private key"),
    ({"client_certificate": "KEY"}, "client_certificate", "it holds no certificate"),
    ({"client_certificate": "CERTIFICATE"}, "client_certificate", "no private key"),
    ({"client_certificate": "MIXED"}, "client_certificate", "does not belong to its first certificate"),
    ({"client_certificate": "ENCRYPTED"}, "client_certificate", "its key is encrypted"),
    ({"client_certificate": "x" * 70_000}, "client_certificate", "65536 are allowed"),
    ({"authorities": "IDENTITY"}, "authorities", "holds a private key"),
    ({"authorities": CANARY}, "authorities", "it holds no certificate"),
    ({"rate": 0}, "rate", "0.001 to 100000 messages a second"),
    ({"rate": -1.5}, "rate", "-1.5 is wrong"),
    ({"rate": "5"}, "rate", "number"),
    ({"concurrency": 0}, "concurrency", "1 to 1000 attempts"),
    ({"concurrency": 1.5}, "concurrency", "integer"),
    ({"header": {"X": "y"}}, "header", "did you mean headers?"),
    ({"events": ["webhook.ping"]}, "events", "sent whenever a test is asked for"),
    ({"stations": ["CP-1", "[abc"]}, "stations", "'[abc' opens a bracket and does not close it"),
    ({"sites": ["[]"]}, "sites", "does not close it"),
]
NEW_ONLY: list[tuple[dict[str, Any], str, str]] = [
    ({"signatures": ["v1a"], "secret": "whsec_" + "MTIzNDU2" * 6}, "secret", "name v1 among the signatures"),
    ({"headers": {"X-A": None}}, "headers.X-A", "string"),
]
"""A change knows no secret, and null takes a header away."""


@pytest.mark.parametrize(
    ("method", "options", "field", "told"),
    [("POST", *one) for one in (*WRONG, *NEW_ONLY)] + [("PATCH", *one) for one in WRONG],
)
async def test_what_cannot_be_is_refused_by_name_and_its_secrets_are_not_repeated(
    method: str, options: dict[str, Any], field: str, told: str, pems: Pems
) -> None:
    named = {
        "KEY": pems.key, "CERTIFICATE": pems.certificate, "MIXED": pems.certificate + pems.other_key,
        "ENCRYPTED": pems.encrypted, "IDENTITY": pems.identity,
    }  # fmt: skip
    given = {key: named.get(value, value) if isinstance(value, str) else value for key, value in options.items()}
    async with open_office() as office:
        id = (await made(office))["id"]
        before = office.engine.position
        answer = await office.ask(method, "/webhooks" if method == "POST" else f"/webhooks/{id}", {"url": URL, **given})
        assert office.engine.position == before

    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert told in answer.json["detail"]
    assert CANARY not in answer.text
    assert "PRIVATE KEY--" not in answer.text


async def test_a_change_changes_what_it_names_and_forgets_what_it_replaced(pems: Pems) -> None:
    async with open_office() as office:
        id = (await made(office, headers={"X-A": "one", "X-B": "two"}, client_certificate=pems.identity, rate=5))["id"]
        place = f"/webhooks/{id}"
        changed = (await office.ask("PATCH", place, {"headers": {"x-a": "three", "X-B": None, "X-C": "four"}})).json
        without = (await office.ask("PATCH", place, {"client_certificate": None, "rate": None})).json
        refused = await office.ask("PATCH", place, {"mode": None})
        record = office.engine.state(webhooks)[id].record
        kept = office.engine.secrets

        assert changed["headers"] == ["X-C", "x-a"] or changed["headers"] == ["x-a", "X-C"]
        assert {name: kept.get(value) for name, value in record.headers} == {"x-a": b"three", "X-C": b"four"}
        assert (without["client_certificate"], without["rate"], record.identity) == (None, None, "")
        assert kept.ids() == office.registrar.webhook_secrets_named()
        assert "null is no value" in refused.json["detail"]


async def test_a_change_that_changes_nothing_is_not_recorded(pems: Pems) -> None:
    said = {"headers": {"X-A": "one"}, "client_certificate": pems.identity, "authorities": pems.authority, "rate": 5}
    async with open_office() as office:
        id = (await made(office, **said, signatures=["v1", "v1a"]))["id"]
        before = office.engine.position, office.engine.secrets.ids()
        await office.ask("PATCH", f"/webhooks/{id}", {**said, "signatures": ["v1a", "v1"], "url": URL})
        await office.ask("PATCH", f"/webhooks/{id}", {})

        assert (office.engine.position, office.engine.secrets.ids()) == before


async def test_a_scheme_that_is_added_is_handed_out_and_one_that_goes_is_forgotten() -> None:
    async with open_office() as office:
        first = await made(office, signatures=["v1a"])
        place = f"/webhooks/{first['id']}"
        added = (await office.ask("PATCH", place, {"signatures": ["v1", "v1a"]})).json
        gone = (await office.ask("PATCH", place, {"signatures": ["v1"]})).json
        refused = await office.ask("POST", f"/webhooks/{(await made(office, signatures=['v1a']))['id']}/rotate-secret",
                                   {"secret": "whsec_" + "MTIzNDU2" * 6})  # fmt: skip

        assert "secret" not in first
        assert added["secret"].startswith("whsec_")
        assert added["public_key"] == first["public_key"]
        assert (gone["signatures"], gone["public_key"], "secret" in gone) == (["v1"], None, False)
        assert "v1a alone" in refused.json["detail"]
        assert office.engine.secrets.ids() == office.registrar.webhook_secrets_named()


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "old", "told"),
    [
        ({}, 1, ""),
        (None, 1, ""),
        ({"overlap": "0s"}, 0, ""),
        ({"overlap": 0}, 0, ""),
        ({"overlap": "31d"}, 0, "30 days"),
        ({"overlap": "soon"}, 0, "overlap: wanted is a duration"),
        ({"at_once": True}, 0, "there is no such field; known are secret, overlap"),
    ],
)
async def test_the_overlap_is_a_day_unless_it_is_said(given: dict[str, Any] | None, old: int, told: str) -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        answer = await office.ask("POST", f"/webhooks/{id}/rotate-secret", given)
        record = office.engine.state(webhooks)[id].record
        now = office.engine.now()

    if told:
        assert (answer.status, told in answer.json["detail"]) == (422, True)
        return
    assert len(record.secrets) == 1 + old
    assert (record.retired_at is None) == (old == 0)
    if record.retired_at is not None:
        assert 86_390_000_000 < record.retired_at - now <= 86_400_000_000
    assert answer.json["secret"].startswith("whsec_")


async def test_a_certificate_that_is_over_is_taken_from_the_configuration_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """There it must not keep the daemon from starting one day, and the log says so."""
    past = datetime(2001, 1, 1, tzinfo=UTC)
    pem = trustme.CA().issue_cert("ours.example", not_before=past, not_after=past + timedelta(days=1))
    identity = tmp_path / "ours.pem"
    pem.private_key_and_cert_chain_pem.write_to_path(str(identity))
    section = WebhookSection(name="mine", url=URL, secret_file=tmp_path / "mine.secret", client_certificate=identity)
    async with open_office() as office:
        refused = await office.ask("POST", "/webhooks", {"url": URL, "client_certificate": identity.read_text()})
        other = (await made(office))["id"]
        patched = await office.ask("PATCH", f"/webhooks/{other}", {"client_certificate": identity.read_text()})
        standing = read_standing([section], UrlPolicy())
        await bring_into_line(office.engine, office.registrar, standing)
        await bring_into_line(office.engine, office.registrar, standing)

    for answer in (refused, patched):
        assert (answer.status, "expired on 2001-01-02; give its successor" in answer.json["detail"]) == (422, True)
    said = capsys.readouterr().out + caplog.text  # to the log if a command set one up in this process, else printed
    assert "mine" in said
    assert "expired on 2001-01-02" in said


async def test_a_secret_that_stands_in_the_configuration_is_not_rotated_over_the_api() -> None:
    async with open_office() as office:
        hook = NewWebhook(url="https://example.com/hook", name="billing")
        id = (await office.registrar.subscribe(hook, actor="config", id_prefix=STANDING_PREFIX)).id
        refused = await office.ask("POST", f"/webhooks/{id}/rotate-secret")

    assert refused.status == 409
    assert "in the secret_file of [[webhook]] 'billing'; change it there" in refused.json["detail"]


async def test_the_public_key_verifies_what_the_seed_in_the_vault_signs() -> None:
    async with open_office() as office:
        first = await made(office, signatures=["v1a"])
        (id,) = office.engine.state(webhooks)[first["id"]].record.keys
        seed = office.engine.secrets.get(id)

    assert seed is not None
    key = Ed25519PrivateKey.from_private_bytes(seed)
    key.public_key().verify(key.sign(b"x"), b"x")
    assert b64decode(first["public_key"].removeprefix("whpk_")) == key.public_key().public_bytes_raw()


# --- states ----------------------------------------------------------------------------------------------------------


async def test_where_nothing_can_be_sent_it_is_not_called_active() -> None:
    async with open_office() as office:
        first = await made(office, headers={"X-A": "one"}, signatures=["v1", "v1a"])
        record = office.engine.state(webhooks)[first["id"]].record
        place, kept = f"/webhooks/{first['id']}", office.engine.secrets
        assert first["state"] == "active"
        kept.forget(record.keys[0])
        with_one = (await office.ask("GET", place)).json
        kept.forget(record.headers[0][1])
        headless = (await office.ask("GET", place)).json
        kept.forget(record.secrets[0])
        (unsigned,) = (await office.ask("GET", "/webhooks")).json["data"]

    assert (with_one["state"], with_one["problem"]) == ("active", None)
    assert (headless["state"], "header X-A is missing" in headless["problem"]) == ("paused", True)
    assert (unsigned["state"], unsigned["problem"]) == ("paused", "no usable signing secret; rotate it")


async def test_where_webhooks_are_held_back_it_is_not_called_active() -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        office.engine.mute = True
        shown = (await office.ask("GET", f"/webhooks/{id}")).json

    assert shown["state"] == "paused"
    assert "started with --hold" in shown["problem"]
    assert "copy" not in shown["problem"]


async def test_the_state_is_that_of_the_log() -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        seen: list[tuple[str, str, int | None, str | None]] = []
        for event in (
            WebhookFailed(since=1, reason="answered 500", status=500),
            WebhookSuspended(since=1, reason="answered 502", status=502),
            WebhookResumed(),
        ):
            await office.engine.record(event, subject=id)
            shown = (await office.ask("GET", f"/webhooks/{id}")).json
            webhook_shapes.Webhook.model_validate(shown)
            seen.append((shown["state"], *(shown["health"][name] for name in ("state", "status", "reason"))))

    assert seen == [
        ("failing", "failing", 500, "answered 500"),
        ("paused", "suspended", 502, "answered 502"),
        ("active", "well", None, None),
    ]


# --- messages --------------------------------------------------------------------------------------------------------


async def test_a_pending_message_is_skipped_and_asked_for_again() -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        await office.ask("POST", f"/webhooks/{id}/pause")
        for _ in range(3):
            await office.ask("POST", f"/webhooks/{id}/test")
        pending = (await office.ask("GET", f"/webhooks/{id}/messages")).json["data"]
        message = f"/messages/{pending[1]['id']}"
        skipped = await office.ask("POST", message + "/skip")
        twice = await office.ask("POST", message + "/skip")
        listed = (await office.ask("GET", f"/webhooks/{id}/messages?state=skipped")).json["data"]
        again = await office.ask("POST", message + "/redeliver")
        nothing = await office.ask("POST", "/messages/msg_X/skip")

    webhook_shapes.MessageShown.model_validate(skipped.json)
    assert (skipped.status, skipped.json["state"], twice.status) == (200, "skipped", 409)
    assert "only a pending one can be skipped" in twice.json["detail"]
    assert [one["id"] for one in listed] == [pending[1]["id"]]
    assert (again.status, again.json["round"], nothing.status) == (202, 1, 404)


async def test_a_message_keeps_the_format_of_its_cause_when_it_is_asked_for_again() -> None:
    async with open_office() as office:
        id = (await made(office, format="cloudevents"))["id"]
        await office.ask("POST", f"/webhooks/{id}/pause")
        await office.ask("POST", f"/webhooks/{id}/test")
        (message,) = (await office.ask("GET", f"/webhooks/{id}/messages")).json["data"]
        await office.ask("PATCH", f"/webhooks/{id}", {"format": "standard"})
        await office.ask("POST", f"/messages/{message['id']}/skip")
        await office.ask("POST", f"/messages/{message['id']}/redeliver")

        assert newest(office)[1]["format"] == "cloudevents"


@pytest.mark.parametrize("format", ["standard", "cloudevents"])
@pytest.mark.parametrize("signatures", [["v1"], ["v1a"], ["v1", "v1a"]])
async def test_a_test_is_sent_in_each_format_with_each_signature(format: str, signatures: list[str]) -> None:
    async with open_office() as office:
        id = (await made(office, format=format, signatures=signatures, headers={"X-A": CANARY}))["id"]
        await office.ask("POST", f"/webhooks/{id}/test")
        while not office.receiver.attempts:
            await office.engine.beyond(office.engine.position)
        (attempt,) = office.receiver.attempts

    kind = json.loads(attempt.body)
    assert kind["type"] == "webhook.ping"
    assert ("specversion" in kind) == (format == "cloudevents")
    assert attempt.content_type == {"standard": "application/json"}.get(format, "application/cloudevents+json")
    assert (bool(attempt.secrets), bool(attempt.keys)) == ("v1" in signatures, "v1a" in signatures)
    assert attempt.headers == (("X-A", CANARY),)


async def test_pages_of_messages_hold_each_once_in_order_whatever_comes_and_goes() -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        place = f"/webhooks/{id}"
        await office.ask("POST", place + "/pause")
        for _ in range(12):
            await office.ask("POST", place + "/test")
        first = (await office.ask("GET", f"{place}/messages?limit=5")).json
        await office.ask("POST", f"/messages/{first['data'][-1]['id']}/skip")
        await office.ask("POST", f"/messages/{first['data'][1]['id']}/skip")
        second = (await office.ask("GET", f"{place}/messages?limit=5&cursor={first['next']}")).json
        rest = (await office.ask("GET", f"{place}/messages?limit=5&cursor={second['next']}")).json
        aside = (await office.ask("GET", f"{place}/messages?state=skipped&limit=1")).json
        more = (await office.ask("GET", f"{place}/messages?state=skipped&limit=1&cursor={aside['next']}")).json

    positions = [one["position"] for page in (first, second, rest) for one in page["data"]]
    assert positions == sorted(positions)
    assert (len(set(positions)), rest["next"]) == (12, None)
    assert [one["id"] for page in (aside, more) for one in page["data"]] == [first["data"][n]["id"] for n in (1, 4)]
    assert more["next"] is None


@pytest.mark.parametrize("cursor", ["x", "eA", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"])
async def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    async with open_office() as office:
        id = (await made(office))["id"]
        answer = await office.ask("GET", f"/webhooks/{id}/messages?cursor={cursor}")

    assert (answer.status, "none of ours" in answer.json["detail"]) == (422, True)


# --- nothing secret leaves the vault ---------------------------------------------------------------------------------


async def test_no_value_of_a_header_and_no_key_is_in_the_log_or_in_any_answer(tmp_path: Path, pems: Pems) -> None:
    path = tmp_path / "log.db"
    async with open_office(path) as office:
        said = {"headers": {"X-A": CANARY}, "client_certificate": pems.identity, "signatures": ["v1", "v1a"]}
        first = await made(office, **said)
        place = f"/webhooks/{first['id']}"
        await office.ask("POST", place + "/rotate-secret")
        await office.ask("POST", place + "/test")
        while not office.receiver.attempts:
            await office.engine.beyond(office.engine.position)
        kept = [office.engine.secrets.get(id) or b"" for id in office.engine.secrets.ids()]
        pages = [place, "/webhooks", "/events?limit=1000", "/metrics", "/subscriptions", f"{place}/messages"]
        answers = [(await office.ask("GET", page)).body for page in pages]

    told = b"".join([*answers, *_written(tmp_path)])
    assert len(kept) >= 6
    assert all(len(secret) > 5 for secret in kept)
    assert [secret for secret in kept if secret in told] == []
    assert CANARY.encode() not in told


def _written(folder: Path) -> list[bytes]:
    """Return what stands in the files of a log, but for its secrets."""
    return [file.read_bytes() for file in folder.iterdir() if not file.name.endswith((".secrets", ".key"))]
