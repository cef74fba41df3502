"""What the API is given and gives about webhooks and their messages, as the OpenAPI document describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from .deliveries import BacklogShown
from .shapes import Answer, Duration, Given, Time

Rate = Annotated[float, Field(strict=True, description="Messages a second, at most; null: as many as it takes.")]
Concurrency = Annotated[StrictInt, Field(description="Attempts in flight, at most; null: as is set for all.")]
Pem = Annotated[str, Field(description="PEM: the certificate, those between it and its authority, and its key.")]
Authorities = Annotated[str, Field(description="PEM: the authorities that the receiver is believed by.")]


class WebhookGiven(Given):
    """A subscription to be made. Headers' values, certificates and keys are taken and never shown."""

    url: str = Field(examples=["https://example.com/hook"])
    events: list[str] = Field(["chargestation.online", "chargestation.offline"], description="Types of messages.")
    stations: list[str] = Field(["*"], description="Patterns of station ids, as a shell's.")
    sites: list[str] = Field(["*"], description="Patterns of sites; a station without one fits * alone.")
    initial: Literal["none", "state"] = Field("none", description="state: first, the state of each station.")
    name: str = ""
    mode: Literal["every", "latest"] = Field("every", description="latest: of what waits, each station's newest flip.")
    format: Literal["standard", "cloudevents"] = Field("standard", description="Of bodies.")
    signatures: list[str] = Field(["v1"], description="v1 (HMAC-SHA256), v1a (Ed25519), or both.")
    secret: str | None = Field(None, description="whsec_... for v1; drawn if none is given.", repr=False)
    headers: dict[str, str] = Field({}, description="Headers that each request bears.", repr=False)
    client_certificate: Pem | None = Field(None, repr=False)
    authorities: Authorities | None = None
    rate: Rate | None = None
    concurrency: Concurrency | None = None


class WebhookChangesGiven(Given):
    """Changes to a subscription; what is left out stays as it is."""

    url: str | None = None
    events: list[str] | None = None
    stations: list[str] | None = None
    sites: list[str] | None = None
    name: str | None = None
    mode: Literal["every", "latest"] | None = None
    format: Literal["standard", "cloudevents"] | None = Field(None, description="Of what is caused from now on.")
    signatures: list[str] | None = None
    headers: dict[str, str | None] | None = Field(
        None, description="Those named get new values, null takes one away, the others stay.", repr=False
    )
    client_certificate: Pem | None = Field(None, repr=False)
    authorities: Authorities | None = None
    rate: Rate | None = None
    concurrency: Concurrency | None = None


class RotationGiven(Given):
    """How a signing secret is replaced, and the key with it."""

    secret: str | None = Field(None, description="whsec_...; drawn if none is given.", repr=False)
    overlap: Duration = Field(86_400.0, description="Seconds for which the old ones sign, too; 0 for a leak.")


class RangeGiven(Given):
    """Which messages are owed again: those whose causes lie between, both ends included."""

    since: int | str = Field(description="A position, or a time as in RFC 3339.")
    until: int | str | None = Field(None, description="The same; without it, up to now.")


# --- answers ---------------------------------------------------------------------------------------------------------


class DisabledShown(Answer):
    reason: str
    since: Time
    status: int | None
    at: Time


class OwedShown(Answer):
    """How many messages are in each state; of the settled ones, those remembered."""

    pending: int
    parked: int
    skipped: int


class HealthShown(Answer):
    """How the receiver takes it, as the log has it."""

    state: Literal["well", "failing", "suspended"] = Field(description="suspended: probed with one message at a time.")
    since: Time | None = Field(description="When the first of the attempts began that failed.")
    status: int | None
    reason: str | None


class CertificateShown(Answer):
    """What is public of a certificate."""

    subject: str
    notAfter: Time  # noqa: N815


class AttemptShown(Answer):
    message: str
    subject: str
    at: Time
    number: int
    outcome: str
    status: int | None
    error: str
    latencyMs: float  # noqa: N815


class Webhook(BacklogShown):
    id: str
    object: Literal["webhook"]
    url: str
    events: list[str]
    stations: list[str]
    sites: list[str]
    initial: Literal["none", "state"]
    name: str
    mode: Literal["every", "latest"]
    format: Literal["standard", "cloudevents"]
    signatures: list[Literal["v1", "v1a"]]
    public_key: str | None = Field(description="whpk_..., which verifies v1a; null without v1a.")
    retiredAt: Time | None = Field(description="Until then older secrets and keys sign, too.")  # noqa: N815
    headers: list[str] = Field(description="Their names; the values are not shown.")
    client_certificate: CertificateShown | None
    authorities: list[CertificateShown] = Field(description="Empty: those that the system believes.")
    rate: float | None
    concurrency: int | None
    state: Literal["active", "failing", "paused", "disabled"] = Field(
        description="paused: by hand; or nothing is sent for what `health` or `problem` says."
    )
    health: HealthShown
    problem: str | None = Field(description="Why nothing can be sent to it, such as a secret that is missing.")
    disabled: DisabledShown | None
    owed: OwedShown
    lastAcceptedAt: Time | None = Field(description="null: none is known that it accepted.")  # noqa: N815
    answers: list[AttemptShown] = Field(description="The newest ones that this process saw, newest first.")
    createdAt: Time  # noqa: N815
    updatedAt: Time  # noqa: N815


class WebhookWithSecret(Webhook):
    secret: str | None = Field(None, description="whsec_..., shown this once, if there is a new one.")


class Webhooks(Answer):
    data: list[Webhook]
    next: str | None


class MessageShown(Answer):
    id: str
    object: Literal["message"]
    webhook: str
    subject: str
    type: str
    position: int = Field(description="Of the event that caused it.")
    round: int
    state: Literal["pending", "delivered", "parked", "skipped", "cancelled"]
    attempts: int | None = Field(None, description="Failed ones of a pending message; left out of one that is settled.")
    nextAttemptAt: Time | None  # noqa: N815


class Messages(Answer):
    data: list[MessageShown]
    next: str | None
