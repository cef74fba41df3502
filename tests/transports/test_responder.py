"""The responder, held against the schemas of the field's own library (PyPI `ocpp`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ocpp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from stationkeeper.transports.responder import NOTIFICATIONS, Responder

FOLDERS = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}
VERSIONS = sorted(FOLDERS)
FROM_THE_CENTRAL_SYSTEM = {
    "ocpp1.6": {"GetConfiguration", "GetDiagnostics", "UpdateFirmware"},
    "ocpp2.0.1": {"CostUpdated"},
    "ocpp2.1": {"CostUpdated", "GetPeriodicEventStream", "NotifyWebPaymentStarted"},
}
"""Calls with an empty answer that only go the other way."""
TRANSACTIONS = {"StopTransaction", "TransactionEvent"}
"""Their answer may be empty, too, but it is a receipt, and nobody here keeps them."""

responder = Responder(now=lambda: 1_767_225_600_123_456)


def schemas(version: str) -> dict[str, dict[str, Any]]:
    """Return the response schemas by action."""
    folder = Path(ocpp.__file__).parent / FOLDERS[version] / "schemas"
    found = {path.name.removesuffix("Response.json"): path for path in folder.glob("*Response.json")}
    return {action: json.loads(path.read_text("utf-8-sig")) for action, path in found.items()}


def answer(version: str, *message: object) -> list[Any] | None:
    text = responder.answer(version, json.dumps(message))
    return None if text is None else json.loads(text)


@pytest.mark.parametrize("version", VERSIONS)
def test_exactly_those_whose_answer_is_empty_and_no_receipt_get_an_empty_one(
    version: str,
) -> None:
    empty = {action for action, schema in schemas(version).items() if not schema.get("required")}

    assert NOTIFICATIONS[version] == empty - FROM_THE_CENTRAL_SYSTEM[version] - TRANSACTIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_each_action_gets_an_answer_that_its_schema_allows_or_not_supported(version: str) -> None:
    for action, schema in schemas(version).items():
        kind, id, *rest = answer(version, 2, "id-1", action, {"any": "thing"}) or []

        assert id == "id-1"
        if action in NOTIFICATIONS[version] | {"BootNotification", "Heartbeat"}:
            assert kind == 3
            Draft4Validator(schema).validate(rest[0])
        else:
            assert (kind, rest[0]) == (4, "NotSupported")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_boot_is_accepted_with_the_time_and_an_interval(version: str) -> None:
    boot = answer(version, 2, "1", "BootNotification", {})

    assert boot == [3, "1", {"status": "Accepted", "currentTime": "2026-01-01T00:00:00.123456Z", "interval": 300}]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "message", [[3, "1", {}], [4, "1", "InternalError", "", {}], [5, "1", "X", "", {}], [6, "1", "NotifyX", {}]]
)
def test_answers_are_not_answered(version: str, message: list[object]) -> None:
    assert answer(version, *message) is None


@pytest.mark.parametrize(
    ("text", "in_1_6", "in_2_0_1"),
    [
        ("no json", None, [4, "-1", "RpcFrameworkError"]),
        ("[" * 60_000, None, [4, "-1", "RpcFrameworkError"]),
        ("{}", None, [4, "-1", "RpcFrameworkError"]),
        ("[]", None, [4, "-1", "RpcFrameworkError"]),
        ("[2]", None, [4, "-1", "RpcFrameworkError"]),
        ('[2,7,"Heartbeat",{}]', None, [4, "-1", "RpcFrameworkError"]),
        ('[2,"7","Heartbeat"]', [4, "7", "FormationViolation"], [4, "7", "FormatViolation"]),
        ('[2,"7","Heartbeat",[]]', [4, "7", "FormationViolation"], [4, "7", "FormatViolation"]),
        ('[2,"7","Heartbeat",{},1]', [4, "7", "FormationViolation"], [4, "7", "FormatViolation"]),
        ('[2,"7",null,{}]', [4, "7", "FormationViolation"], [4, "7", "FormatViolation"]),
        ('[9,"7"]', None, [4, "7", "MessageTypeNotSupported"]),
    ],
)
def test_what_is_malformed_gets_its_versions_error(
    text: str, in_1_6: list[object] | None, in_2_0_1: list[object]
) -> None:
    def begin(version: str) -> list[object] | None:
        answered = responder.answer(version, text)
        return None if answered is None else json.loads(answered)[:3]

    assert begin("ocpp1.6") == in_1_6
    assert begin("ocpp2.0.1") == begin("ocpp2.1") == in_2_0_1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.sampled_from(VERSIONS), st.text(max_size=60) | json_values.map(json.dumps))
def test_nothing_that_a_station_says_raises(version: str, text: str) -> None:
    answered = responder.answer(version, text)

    assert answered is None or json.loads(answered)[0] in {3, 4}
