"""What is secret is not shown by what carries it: a traceback, a log line or a failed assertion may print any of it."""

from __future__ import annotations

import pytest

from stationkeeper.daemon.api.shapes import StationChangesGiven, StationGiven
from stationkeeper.daemon.api.webhook_shapes import RotationGiven, WebhookChangesGiven, WebhookGiven
from stationkeeper.daemon.registry.enrolment import Credited
from stationkeeper.daemon.registry.requests import NewStation, StationChanges
from stationkeeper.daemon.registry.subscriptions import Subscribed
from stationkeeper.daemon.registry.wardrobe import Dressed
from stationkeeper.daemon.registry.webhook_requests import NewWebhook, WebhookChanges
from stationkeeper.engine.events import WebhookRecord
from stationkeeper.engine.sending import Attempt

CANARY = "canary-8f2a"
HEADERS = {"Authorization": CANARY}
URL = "https://example.com/hook"


@pytest.mark.parametrize(
    "carrier",
    [
        Attempt(
            message="m", url=URL, body=b"", at=0, secrets=(CANARY.encode(),), keys=(CANARY.encode(),),
            headers=(("Authorization", CANARY),), identity=CANARY.encode(),
        ),
        NewWebhook(url=URL, secret=CANARY, headers=HEADERS, client_certificate=CANARY),
        WebhookChanges(secret=CANARY, headers=HEADERS, client_certificate=CANARY),
        NewWebhook(url=URL, secret=CANARY, headers=HEADERS, client_certificate=CANARY).as_changes(),
        Dressed(WebhookRecord(url=URL), CANARY.encode()),
        Subscribed(id="wh_1", secret=CANARY, position=1),
        NewStation(id="CP-7", password=CANARY),
        StationChanges(password=CANARY),
        Credited(id="CP-7", password=CANARY, position=1),
        WebhookGiven.model_validate(
            {"url": URL, "secret": CANARY, "headers": HEADERS, "client_certificate": CANARY}
        ),
        WebhookChangesGiven.model_validate({"headers": HEADERS, "client_certificate": CANARY}),
        RotationGiven.model_validate({"secret": CANARY}),
        StationGiven.model_validate({"id": "CP-7", "password": CANARY}),
        StationChangesGiven.model_validate({"password": CANARY}),
    ],
    ids=lambda carrier: type(carrier).__name__,
)  # fmt: skip
def test_nothing_secret_is_shown(carrier: object) -> None:
    assert CANARY not in repr(carrier)
    assert CANARY not in str(carrier)
