"""What is pulled, as the OpenAPI document describes it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .shapes import Answer, Time


class PulledMessage(Answer):
    """What a webhook's message says, with its place in the log."""

    id: str = Field(description="Always the same for this message; a webhook's has another.")
    position: int = Field(description="Of the event that caused it.")
    type: str
    timestamp: Time = Field(description="When we knew.")
    data: dict[str, Any] = Field(description="For a station the Chargestation as of that event.")


class PulledMessages(Answer):
    data: list[PulledMessage]
    next: str | None = Field(description="More can be had at once: ask for what comes `after` it.")
    position: int = Field(description="All up to here was told. Where `next` is null, go on `after` it.")
