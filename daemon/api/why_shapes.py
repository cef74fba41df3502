"""What the explanation of a station's state looks like, as the OpenAPI document describes it; see `shapes`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .shapes import Answer, Chargestation, ConflictShown, RefusalOfOne, Time


class DeliveryAttemptShown(Answer):
    round: int
    number: int
    at: Time
    status: int | None = Field(description="The HTTP status of the answer; null: there was none.")
    result: str
    next: Time | None = Field(description="When the next one was due; null after the last.")


class MessageExplained(Answer):
    id: str
    type: str
    webhook: str
    name: str = Field(description="The webhook's name, or its URL's host; empty once it is gone.")
    state: Literal["pending", "delivered", "parked", "skipped", "cancelled"]
    note: str = Field(description="Why it still waits, or was skipped; often empty.")
    attempts: list[DeliveryAttemptShown]


class MomentShown(Answer):
    """An event that had to do with the station."""

    position: int
    at: Time
    kind: str
    words: str
    flag: Literal["online", "offline"] | None = Field(description="What it did to the flag; null: nothing.")
    version: int = Field(description="Of the station, after it.")
    note: str = Field(description="What it meant where the flag stayed; often empty.")
    odd: bool = Field(description="It made no sense where it stands, and so changed nothing by itself.")
    messages: list[MessageExplained]


class WhyShown(Answer):
    """Why a station is online or offline, or does not connect."""

    position: int = Field(description="The log was read up to here.")
    answer: str = Field(description="In a sentence or two.")
    refused: str = Field(description="How often it was turned away in the last seven days, and why the last time.")
    refusals: list[RefusalOfOne] = Field(description="The same by reason, the newest first.")
    conflict: ConflictShown | None
    chargestation: Chargestation | None = Field(description="null: an id that was only ever turned away.")
    meant: list[str] = Field(description="Registered ids that are like one that was never let in.")
    earlier: int = Field(description="How many events there were before `moments`.")
    moments: list[MomentShown] = Field(description="Oldest first, the newest ones of all.")
