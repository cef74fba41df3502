"""What the API is given and gives, as the OpenAPI document describes it.

Answers are encoded straight from what was folded; the models of answers only describe them, and tests compare.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from ..configuration.units import parse_duration


def _seconds(value: object) -> object:
    return None if value is None else parse_duration(value)


def _security_type(value: object) -> object:
    return cast("dict[str, object]", value).get("type") if isinstance(value, dict) else value


TEN_YEARS = 10 * 366 * 86_400.0

Duration = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=float | str), Field(le=TEN_YEARS)]
"""Seconds, or a text such as `"25s"`."""
Security = Annotated[str, BeforeValidator(_security_type, json_schema_input_type=str | dict[str, str])]
"""`basic`, `mtls` or `none`; also as the Chargestation has it: `{"type": "basic"}`."""


class Given(BaseModel):
    """The base of what is given: a key that is not known is an error, not a wish that nobody hears."""

    model_config = ConfigDict(extra="forbid")


class LivenessGiven(Given):
    """How a station is watched where that differs from the gateway's settings."""

    ping_interval: Duration | None = Field(None, description="Seconds of silence until a ping; 0: never ping.")
    ping_timeout: Duration | None = Field(None, description="Seconds that a ping may go unanswered.")
    silence: Duration | None = Field(None, description="Seconds that a station that is never pinged may be silent.")


class StationGiven(Given):
    """A station to be registered."""

    id: str = Field(description="As it stands in the URL that the station dials, decoded.", examples=["CP-7"])
    password: str | None = Field(None, description="Text, or a key in hex digits.", repr=False)
    generate: bool = Field(False, description="Draw a key; the answer shows it, this once.")
    protocol: str | None = Field(None, description="The subprotocol to take it for if it offers none.")
    security: Security | None = None
    name: str = ""
    site: str = ""
    liveness: LivenessGiven | None = None
    profile: StrictInt | None = Field(None, description="The OCPP security profile that it must come with: 1, 2 or 3.")
    serial: str | None = Field(None, description="What its certificate's common name may be instead of its id.")
    lenient: list[str] = Field([], description="What is forgiven it: username, upgrade, subprotocol, origin.")


class StationChangesGiven(Given):
    """Changes to a station; what is left out stays as it is."""

    password: str | None = Field(None, repr=False)
    generate: bool = False
    overlap: Duration = Field(0.0, description="Seconds for which the password before stays good beside a new one.")
    protocol: str | None = None
    security: Security | None = None
    name: str | None = None
    site: str | None = None
    liveness: LivenessGiven | None = None
    profile: StrictInt | None = None
    serial: str | None = None
    lenient: list[str] | None = None


# --- answers ---------------------------------------------------------------------------------------------------------

Time = Annotated[str, Field(examples=["2026-11-22T09:00:00.000000Z"])]


class Answer(BaseModel):
    """The base of what is answered. Fields may be added; clients pass over those that they do not know."""


class SecurityShown(Answer):
    type: str


class ConnectionShown(Answer):
    id: str
    openedAt: Time  # noqa: N815  the contract's names


class DisconnectShown(Answer):
    cause: str
    code: int | None
    reason: str
    side: Literal["station", "gateway", "network"] | None
    lastAliveAt: Time  # noqa: N815
    detectedAt: Time  # noqa: N815


class LiveShown(Answer):
    """What the gateway that holds the connection sees now; never in a webhook, never as of a moment."""

    lastMessageAt: Time  # noqa: N815
    rttMs: float | None = Field(  # noqa: N815
        description="Milliseconds to the answer of the newest ping; of a station that was never pinged, "
        "the round trip that the network measured."
    )
    remote: str


class ConflictShown(Answer):
    """Two devices use the station's identity, or one opens a second connection while it has one."""

    since: Time
    last: Time = Field(description="The newest takeover.")
    takeovers: int = Field(description="In a row, from connections that were alive.")


class AsOf(Answer):
    """Which moment an answer is of."""

    position: int
    at: Time | None = Field(description="The time of the event at that position; none before the first.")


class LivenessShown(Answer):
    """How a station is watched, in seconds; null: as the gateway's settings say."""

    ping_interval: float | None
    ping_timeout: float | None
    silence: float | None


class Chargestation(Answer):
    id: str
    object: Literal["chargestation"]
    endpoint: str
    connection_url: str
    name: str
    site: str
    online: bool
    observed: bool = Field(description="False: the flag is the last reported one, and no gateway sees the station.")
    protocol: str | None
    security: SecurityShown
    lastConnectAt: Time | None  # noqa: N815
    lastDisconnectAt: Time | None  # noqa: N815
    lastMessageAt: Time | None = Field(description="The newest recorded proof of life.")  # noqa: N815
    createdAt: Time | None  # noqa: N815
    updatedAt: Time | None  # noqa: N815
    version: int = Field(description="Counts the flips of `online`, for ever.")
    position: int = Field(description="Of the event behind the present state.")
    connection: ConnectionShown | None
    disconnect: DisconnectShown | None
    registered: bool | None = Field(None, description="False: it was let in openly. Not in answers with `at`.")
    liveness: LivenessShown | None = Field(None, description="How it is watched, where its own. Not in webhooks.")
    profile: int | None = Field(None, description="The security profile it must come with. Not in webhooks.")
    serial: str | None = Field(None, description="The serial its certificate may be made out to. Not in webhooks.")
    lenient: list[str] = Field([], description="What is forgiven it. Not in webhooks.")
    conflict: ConflictShown | None = Field(None, description="null mostly. Not in webhooks.")
    live: LiveShown | None = None
    asOf: AsOf | None = Field(None, description="Only in answers with `at`.")  # noqa: N815


class ChargestationCreated(Chargestation):
    password: str | None = Field(None, description="The generated key, shown this once.")


class Chargestations(Answer):
    data: list[Chargestation]
    next: str | None


class OutageShown(Answer):
    """From the last proof of life to the next open; both may lie outside the window, the seconds do not."""

    from_: Time = Field(alias="from")
    to: Time | None = Field(description="null: it goes on.")
    offlineSeconds: float  # noqa: N815
    notObservedSeconds: float = Field(description="Of it: no gateway could have seen the station.")  # noqa: N815
    cause: str
    code: int | None
    detectedAt: Time  # noqa: N815


class Uptime(Answer):
    """The four times add up to the window."""

    id: str
    from_: Time = Field(alias="from")
    to: Time
    position: int = Field(description="The log was read up to here.")
    availability: float | None = Field(description="Percent: online / (online + offline). null: never observed.")
    onlineSeconds: float  # noqa: N815
    offlineSeconds: float  # noqa: N815
    notObservedSeconds: float = Field(description="Our own restarts, stalls, and what lies ahead.")  # noqa: N815
    unknownSeconds: float = Field(description="Before the station was first let in.")  # noqa: N815
    outageCount: int  # noqa: N815
    outages: list[OutageShown] = Field(description="Those that reach into the window, oldest first; the newest 1,000.")


class RefusalOfOne(Answer):
    """How often a claimed id was turned away for a reason."""

    claimed: str = Field(description="Empty: none was claimed, or many were summed up.")
    reason: str
    status: int = Field(description="Of the newest answer; 101: let go right after the upgrade.")
    meaning: str = Field(description='The rest of a sentence that begins with "because".')
    hint: str = Field(description="What we found out about the newest one; often empty. It is never sent to a peer.")
    remedy: str = Field(description="What to do about this reason.")
    count: int = Field(description="Since `first`.")
    first: Time = Field(description="In `/refusals` longer ago than seven days, if it went on ever since.")
    last: Time = Field(description="Within the last seven days.")


class RefusalShown(RefusalOfOne):
    """The same, and whether the id is a station's."""

    registered: bool = Field(description="Whether a station of this id is registered now.")


class Refusals(Answer):
    data: list[RefusalShown]
    next: str | None


class EventShown(Answer):
    position: int
    id: str
    at: Time
    kind: str
    schema_: int = Field(alias="schema")
    subject: str
    gateway: str
    run: str
    actor: str
    body: dict[str, Any]


class Events(Answer):
    data: list[EventShown]
    next: str | None
    position: int = Field(description="How far this answer has looked; ask for what comes `after` it.")


class Problem(Answer):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
