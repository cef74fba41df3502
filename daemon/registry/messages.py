"""Messages that people steer: those that are owed again, and those that are to be sent no more."""

from __future__ import annotations

import trio

from ...engine.events import DeliveryRequested, DeliverySkipped, WebhookRecovered
from ...engine.sending import Owed
from ...projections import outbox
from ...projections.outbox import Outbox
from .errors import AlreadySettled, Invalid, NotFound, StillPending
from .forgotten import find_forgotten
from .subscriptions import Subscriptions


class Messages(Subscriptions):
    """Webhooks, and what they are owed, as far as people may change that. One change at a time."""

    async def recover(self, id: str, *, since: int, until: int | None = None, actor: str) -> int:
        """Owe a webhook again what was parked or skipped of the events from *since* to *until* (positions, both
        included; without *until* up to now). Return the event's position.

        Raises:
            NotFound: there is no such webhook.
            Invalid: the range is empty.
            LogUnavailable: the log cannot be written now.
        """
        last = self._book.position if until is None else until
        if not 1 <= since <= last:
            raise Invalid("since", f"from {since} to {last} there is nothing; positions count from 1 to now")
        async with self._turn:
            self.webhook_record(id)
            return await self._book.record(WebhookRecovered(since=since, until=last), subject=id, actor=actor)

    async def redeliver(self, message: str, *, actor: str) -> int:
        """Owe a settled message again: the same id and body, ahead of younger ones. Return the event's position.

        Raises:
            NotFound: there is no such message, or its webhook is gone.
            StillPending: it is on its way.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            owed = await self._find(message)
            if owed.state == "pending":
                raise StillPending(f"message {message!r} is on its way; only a settled one can be asked for again")
            self.webhook_record(owed.webhook)
            event = DeliveryRequested(
                message=owed.id,
                webhook=owed.webhook,
                type=owed.type,
                position=owed.position,
                round=owed.round + 1,
                format=owed.format,
            )
            return await self._book.record(event, subject=owed.subject, actor=actor)

    async def skip(self, message: str, *, actor: str) -> int:
        """Send a pending message no more; what waits behind it goes on. Return the event's position.

        Raises:
            NotFound: there is no such message.
            AlreadySettled: it is not pending.
            LogUnavailable: the log cannot be written now.
        """
        async with self._turn:
            owed = await self._find(message)
            if owed.state != "pending":
                raise AlreadySettled(f"message {message!r} is {owed.state}; only a pending one can be skipped")
            event = DeliverySkipped(message=owed.id, webhook=owed.webhook, position=owed.position, round=owed.round)
            return await self._book.record(event, subject=owed.subject, actor=actor)

    async def _find(self, message: str) -> Owed:
        owed = await find_message(self._book.state(outbox), message)
        owed = owed or await trio.to_thread.run_sync(self._forgotten, message)
        if owed is None:
            raise NotFound(f"there is no message {message!r}")
        return owed

    def _forgotten(self, message: str) -> Owed | None:
        with self._book.reader() as log:
            return find_forgotten(log, message)


async def find_message(state: Outbox, id: str) -> Owed | None:
    """Return a message in whichever state it is; none if there is no such message, or it is remembered no more.

    Whoever asks for one that there is not has all that is pending looked through, a quarter of a second for a million
    messages: that is done webhook by webhook, and others have their turn in between.
    """
    for webhook in list(state.boxes):
        box = state.boxes.get(webhook)
        found = None if box is None else box.find(id)
        if found is not None:
            return found
        if box is not None and box.lanes:
            await trio.lowlevel.checkpoint()
    return None
