"""Events to bytes and back: what was ever written is read for ever."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from attrs import asdict, fields, frozen
from msgspec.structs import replace

from stationkeeper.engine import codec
from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.entry import Entry, leaf, recorded
from stationkeeper.engine.errors import UnreadableEvent
from stationkeeper.engine.events import (
    KINDS,
    ConnectionClosed,
    Event,
    GatewayStopped,
    HandshakeRefused,
    StationRemoved,
    Unknown,
    WebhookAdded,
)

_LINES = (Path(__file__).parents[1] / "vectors" / "events.jsonl").read_text(encoding="utf-8").split("\n")
VECTORS: list[dict[str, Any]] = [json.loads(line) for line in _LINES if line]
"""One line per kind or more, as it was first released. Lines are added, never changed."""


def envelope(vector: dict[str, Any]) -> Entry:
    """Return a vector's entry; body and private stand in it as text, salt and leaf in hex."""
    text = {"body": vector["body"].encode(), "private": vector["private"].encode()}
    hexed = {name: bytes.fromhex(vector[name]) for name in ("salt", "leaf")}
    fields: dict[str, Any] = {**vector, **text, **hexed}
    return Entry(digest=b"", **fields)


def vector_name(vector: dict[str, Any]) -> str:
    return f"{vector['kind']}-{vector['schema']}"


every_vector = pytest.mark.parametrize("vector", VECTORS, ids=vector_name)


# --- what was released ---------------------------------------------------------------------------------------------


def test_no_kind_is_without_a_vector() -> None:
    assert {vector["kind"] for vector in VECTORS} == set(KINDS)
    assert {(kind, cls.schema) for kind, cls in KINDS.items()} <= {(v["kind"], v["schema"]) for v in VECTORS}


@every_vector
def test_a_vector_is_read_with_every_value_it_holds(vector: dict[str, Any]) -> None:
    event: Any = decode(envelope(vector))

    read, held = json.loads(json.dumps(asdict(event))), json.loads(vector["body"])
    defaults = {field.name: field.default for field in fields(type(event)) if field.name not in held}
    assert read == {**json.loads(json.dumps(defaults)), **held}
    assert type(event) is KINDS[vector["kind"]]


@every_vector
def test_a_vector_sealed_again_has_the_same_bytes(vector: dict[str, Any]) -> None:
    entry = envelope(vector)
    names = ("id", "at", "subject", "gateway", "run", "actor")
    again = seal(decode(entry), private=entry.private, **{name: vector[name] for name in names})

    # The salt is drawn at random; fields that were added since stand at their defaults; all else is as it was.
    body = {name: value for name, value in json.loads(again.body).items() if name in json.loads(entry.body)}
    compact = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    again = replace(again, salt=entry.salt, body=compact)
    assert replace(again, leaf=leaf(again)) == entry


@pytest.mark.parametrize("kind", KINDS)
def test_a_kinds_newest_vector_holds_every_field(kind: str) -> None:
    newest, cls = [vector for vector in VECTORS if vector["kind"] == kind][-1], cast("type[Any]", KINDS[kind])

    assert set(json.loads(newest["body"])) == {field.name for field in fields(cls)}


@every_vector
def test_a_vectors_leaf_is_computed_anew(vector: dict[str, Any]) -> None:
    assert leaf(envelope(vector)).hex() == vector["leaf"]


# --- bytes ---------------------------------------------------------------------------------------------------------


def test_a_body_is_json_with_sorted_keys_and_no_white_space() -> None:
    event = ConnectionClosed(connection="r-1", side="station", code=1000, cause="station_closed", alive_at=7)

    assert seal(event, id="a", at=1).body == (
        b'{"alive_at":7,"cause":"station_closed","code":1000,"connection":"r-1",'
        b'"reason":"","received":0,"sent":0,"side":"station"}'
    )


def test_an_event_without_fields_has_an_empty_body() -> None:
    assert seal(StationRemoved(), id="a", at=1).body == b"{}"


def test_an_envelope_of_which_no_more_is_said_is_about_nobody_and_by_nobody() -> None:
    entry = seal(StationRemoved(), id="a", at=1)

    assert (entry.subject, entry.gateway, entry.run, entry.actor) == ("", "", "", "")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_before_it_is_in_a_log(number: float) -> None:
    with pytest.raises(UnreadableEvent, match=r"event 'a' is no gateway\.stopped"):
        seal(GatewayStopped(listened=number), id="a", at=1)


def test_a_value_of_a_wrong_type_is_refused_before_it_is_in_a_log() -> None:
    with pytest.raises(UnreadableEvent):
        seal(WebhookAdded(url=None), id="a", at=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- what this release does not know -------------------------------------------------------------------------------


def stored(kind: str, schema: int, body: bytes) -> Entry:
    return replace(seal(StationRemoved(), id="a", at=1), kind=kind, schema=schema, body=body)


@pytest.mark.parametrize("body", [b"{}", b'{"anything": [1, 2]}', b"\x00\xff not even JSON"])
def test_an_unknown_kind_survives(body: bytes) -> None:
    entry = stored("meter.read", 3, body)

    assert decode(entry) == Unknown(written_kind="meter.read", written_schema=3)
    assert entry.body == body


def test_a_newer_schema_of_a_known_kind_survives() -> None:
    entry = stored("station.removed", StationRemoved.schema + 1, b'{"why": "sold"}')

    assert decode(entry) == Unknown(written_kind="station.removed", written_schema=2)


def test_a_field_that_a_newer_release_added_is_passed_over() -> None:
    assert decode(stored("gateway.stopped", 1, b'{"listened":1.5,"mood":"good"}')) == GatewayStopped(listened=1.5)


def test_an_optional_field_that_an_older_release_did_not_write_has_its_default() -> None:
    body = b'{"claimed":"x","first_at":1,"last_at":2,"reason":"unknown_station","status":404}'
    event = decode(stored("handshake.refused", 1, body))

    assert isinstance(event, HandshakeRefused)
    assert (event.count, event.hint) == (1, "")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"listened":"long"}', b'{"listened":null}', b'{"listened":1.5}}', b"\xff"],
)
def test_a_malformed_body_is_refused_and_its_position_named(body: bytes) -> None:
    entry = stored("gateway.stopped", 1, body)

    with pytest.raises(UnreadableEvent, match=r"position 42 is no gateway\.stopped of schema 1: "):
        decode(recorded(entry, 42))


# --- upcasters -----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Painted(Event):
    """A kind that has come to its third schema."""

    kind: ClassVar[str] = "station.painted"
    schema: ClassVar[int] = 3
    colours: tuple[str, ...]
    coats: int


@pytest.fixture
def _painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, Painted.kind, Painted)
    monkeypatch.setitem(codec.UPCASTERS, ("station.painted", 1), lambda body: {"colours": [body["colour"]]})
    monkeypatch.setitem(codec.UPCASTERS, ("station.painted", 2), lambda body: {**body, "coats": 1})


@pytest.mark.usefixtures("_painted")
@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (1, b'{"colour":"red"}'),
        (2, b'{"colours":["red"]}'),
        (3, b'{"coats":1,"colours":["red"]}'),
    ],
)
def test_every_older_schema_is_brought_up_to_the_newest(schema: int, body: bytes) -> None:
    assert decode(stored("station.painted", schema, body)) == Painted(colours=("red",), coats=1)


@pytest.mark.usefixtures("_painted")
@pytest.mark.parametrize("body", [b'{"color":"red"}', b'{"colour":7}', b"[]", b"{", b"\xff"])
def test_a_malformed_body_of_an_older_schema_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="position 42"):
        decode(recorded(stored("station.painted", 1, body), 42))


@pytest.mark.usefixtures("_painted")
@pytest.mark.parametrize("schema", [0, -1])
@pytest.mark.parametrize("body", [b'{"colour":"red"}', b'{"coats":1,"colours":["red"]}'], ids=["old", "fits by chance"])
def test_a_schema_that_never_was_is_refused(schema: int, body: bytes) -> None:
    with pytest.raises(UnreadableEvent):
        decode(stored("station.painted", schema, body))
