"""The least that keeps a charging station content: answers to what it says, in OCPP-J 1.6, 2.0.1 and 2.1.

For gateways without a central system behind them. It answers BootNotification, Heartbeat and the notifications whose
answer is empty, refuses any other call with NotSupported, and never speaks first. What is reported is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from attrs import frozen

from ..engine.clock import rfc3339
from ..engine.events import Micros
from ..engine.stations import Connection

HEARTBEAT_INTERVAL: Final = 300
"""Seconds that stations are told to leave between Heartbeats: a third of the default `silence` of those that must not
be pinged."""

_CALL: Final = 2
_ANSWERS: Final = (3, 4, 5, 6)
"""CALLRESULT and CALLERROR; in 2.1 also CALLRESULTERROR and SEND, which nobody answers (OCPP-J 2.1, 4.1.3)."""
_UNREADABLE: Final = "-1"
"""The message id of an error about a message whose own could not be read (OCPP-J 2.0.1, 4.2.3)."""

_IN_1_6: Final = """
    DiagnosticsStatusNotification FirmwareStatusNotification LogStatusNotification MeterValues SecurityEventNotification
    SignedFirmwareStatusNotification StatusNotification
"""
_IN_2_0_1: Final = """
    ClearedChargingLimit FirmwareStatusNotification LogStatusNotification MeterValues NotifyChargingLimit
    NotifyCustomerInformation NotifyDisplayMessages NotifyEvent NotifyMonitoringReport NotifyReport
    PublishFirmwareStatusNotification ReportChargingProfiles ReservationStatusUpdate SecurityEventNotification
    StatusNotification
"""
_SINCE_2_1: Final = """
    BatterySwap ClosePeriodicEventStream NotifyDERAlarm NotifyDERStartStop NotifyPriorityCharging NotifySettlement
    ReportDERControl
"""

NOTIFICATIONS: Final[dict[str, frozenset[str]]] = {
    "ocpp1.6": frozenset(_IN_1_6.split()),
    "ocpp2.0.1": frozenset(_IN_2_0_1.split()),
    "ocpp2.1": frozenset(_IN_2_0_1.split() + _SINCE_2_1.split()),
}
"""What stations send and the schema of whose answer requires nothing, by version; but no transactions: a station would
take an empty answer as a receipt, and forget what nobody has kept."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Any]).decode


@frozen(kw_only=True)
class Responder:
    """Answers stations; its `respond` is an `on_message` of a station transport."""

    now: Callable[[], Micros]
    """The time that stations are told."""
    interval: int = HEARTBEAT_INTERVAL

    async def respond(self, connection: Connection, text: str) -> None:
        """Answer one message, if it is one that is answered."""
        answer = self.answer(connection.arrival.subprotocol or "ocpp1.6", text)
        if answer is not None:
            await connection.send(answer)

    def answer(self, subprotocol: str, text: str) -> str | None:
        """Return the answer to a message; None to what is itself an answer, or cannot be answered."""
        try:
            message = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            return _malformed(subprotocol, None, "a message is a JSON array")
        kind, *rest = message or [None]
        id = rest[0] if rest and isinstance(rest[0], str) else None
        if kind in _ANSWERS:
            return None
        if kind == _CALL:
            if id is None or len(rest) != 3 or not isinstance(rest[1], str) or not isinstance(rest[2], dict):
                return _malformed(subprotocol, id, "a call is [2, id, action, payload]")
            return self._result(subprotocol, id, rest[1])
        if subprotocol == "ocpp1.6":
            return None  # messages of another type are to be ignored (OCPP-J 1.6, 4.1.3)
        if isinstance(kind, int):
            return _error(id or _UNREADABLE, "MessageTypeNotSupported", f"there is no message type {kind}")
        return _malformed(subprotocol, None, "a message begins with its type")

    def _result(self, subprotocol: str, id: str, action: str) -> str:
        if action == "BootNotification":
            return _answered(id, {"status": "Accepted", "currentTime": rfc3339(self.now()), "interval": self.interval})
        if action == "Heartbeat":
            return _answered(id, {"currentTime": rfc3339(self.now())})
        if action in NOTIFICATIONS.get(subprotocol, ()):
            return _answered(id, {})
        return _error(id, "NotSupported", f"{action[:50]} is not supported here")


def _answered(id: str, payload: dict[str, object]) -> str:
    return _encode([3, id, payload]).decode()


def _error(id: str, code: str, description: str) -> str:
    return _encode([4, id, code, description, {}]).decode()


def _malformed(subprotocol: str, id: str | None, description: str) -> str | None:
    """Return each version's error for a malformed message.

    1.6 has none for a message without an id (OCPP-J 1.6, 4.2.3); the other is FormationViolation there (errata 5.2).
    """
    if subprotocol == "ocpp1.6":
        return None if id is None else _error(id, "FormationViolation", description)
    if id is None:
        return _error(_UNREADABLE, "RpcFrameworkError", description)
    return _error(id, "FormatViolation", description)
